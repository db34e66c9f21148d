"""Forward passes recorded once and launched as one: no time is lost on launching kernel by kernel.

Ng, Ghosh et al., "Accelerating PyTorch with CUDA Graphs", 2021 (the documentation of
`torch.cuda.CUDAGraph` has the rules kept here: side stream, warm-up, fixed addresses).

Shapes: P items of a size class, C H W an image, V values of an item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

RUNS_BEFORE = 3
"""Libraries choose their algorithms in the first runs, and may not while kernels are recorded."""


@dataclass(frozen=True, slots=True)
class _Recording:
    """A graph and the memory that it reads and writes."""

    graph: Any  # torch.cuda.CUDAGraph, which a build without CUDA lacks
    images: Tensor  # P C H W
    table: Tensor  # P V

    def replay(self, images: Tensor) -> Tensor:
        self.images.copy_(images)
        self.graph.replay()
        return self.table  # overwritten by the next replay: the caller copies it to the host


@torch.inference_mode()
def record(
    forward: Callable[[Tensor], Tensor],
    sizes: Sequence[int],
    shape: tuple[int, int, int],
    device: torch.device,
) -> Callable[[Tensor], Tensor]:
    """Return what does as `forward` does (P C H W to P V) for batches of exactly these sizes."""
    recordings = {}
    with torch.cuda.device(device):
        pool = torch.cuda.graph_pool_handle()
        for size in sorted(sizes, reverse=True):  # the largest first: the others fit in its memory
            images = torch.zeros((size, *shape), device=device)
            recordings[size] = _record(forward, images, pool)
    return lambda images: recordings[len(images)].replay(images)


def _record(forward: Callable[[Tensor], Tensor], images: Tensor, pool: Any) -> _Recording:
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(RUNS_BEFORE):
            forward(images)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        table = forward(images)
    return _Recording(graph, images, table)
