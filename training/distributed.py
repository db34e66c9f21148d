"""The processes that train together, and what they say to each other.

torchrun starts them and tells each its place by `RANK`, `WORLD_SIZE` and `LOCAL_RANK`. Without
these a process is alone, and every word to the others is a word to itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm

from torchkeep.errors import SettingsError, TorchkeepError, TrainingError

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it gives them up."""
_ENDING = "ending"


class ProcessLostError(TrainingError):
    """Another process of this training is gone, and has not said why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The place of this process among those that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return this process's part of `count` things, which may not divide evenly."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, the same in each."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes, the same in each."""
        return self.total(values) / self.size

    def told_by_leader(self, value: float) -> float:
        """Return the leader's value in every process."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(told, 0)
        return told.item()

    def content_from_leader(self, content: bytes | None) -> bytes:
        """Return the leader's bytes in every process; the others give None."""
        if self.size == 1:
            return content or b""
        length = int(self.told_by_leader(len(content or b"")))
        sent = torch.zeros(length, dtype=torch.uint8)
        if content:
            sent = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        sent = sent.to(self.device)
        dist.broadcast(sent, 0)
        return sent.cpu().numpy().tobytes()

    def share_statistics(self, model: nn.Module) -> None:
        """Give every process the leader's batch statistics, which each gathers for itself."""
        if self.size == 1:
            return
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                for statistic in (module.running_mean, module.running_var):
                    if statistic is not None:
                        dist.broadcast(statistic, 0)


def alone(device: torch.device) -> World:
    """Return the world of a process that trains by itself."""
    return World(device=device)


def place(device: str) -> World:
    """Return the world that torchrun's variables and the name of a device describe.

    `auto` is this process's GPU if there is one, else the CPU. Raises `SettingsError` if this
    machine has no such device.
    """
    rank, size, local = (
        _variable(name, default)
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    cuda = torch.cuda.is_available()
    name = ("cuda" if cuda else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"no device {device!r}", remedy="Give auto, cpu, cuda or cuda:N."
        ) from error
    if chosen.type not in ("cpu", "cuda"):
        raise SettingsError(f"no device {device!r}", remedy="Give auto, cpu, cuda or cuda:N.")
    if chosen.type == "cuda":
        if not cuda:
            raise SettingsError("this machine has no CUDA device", remedy="Use --device cpu.")
        chosen = _gpu(chosen, local if size > 1 else chosen.index or 0)
    return World(rank=rank, size=size, device=chosen)


def _gpu(device: torch.device, index: int) -> torch.device:
    if index >= torch.cuda.device_count():
        raise SettingsError(
            f"this machine has {torch.cuda.device_count()} CUDA device(s), no cuda:{index}",
            remedy="Start one process for each GPU, or name another.",
        )
    return torch.device(device.type, index)


def _variable(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text and not text.isdecimal():
        raise SettingsError(f"{name} is {text!r}", remedy="Let torchrun set it.")
    return int(text) if text else default


@contextmanager
def connected(world: World) -> Iterator[None]:
    """Connect the processes of `world` for the block: NCCL between GPUs, Gloo between CPUs.

    If another process ends meanwhile, raises `ProcessLostError`; if that one has said why, this one
    ends in silence with the same exit code.
    """
    if world.size == 1:
        yield
        return
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)
    store = _store()
    dist.init_process_group(
        "nccl" if world.device.type == "cuda" else "gloo",
        store=store,
        rank=world.rank,
        world_size=world.size,
        timeout=TIMEOUT,
    )
    ended_well = False
    try:
        yield
        ended_well = True
    except TorchkeepError as error:
        _say_ending(store, error.exit_code)
        raise
    except OSError:
        _say_ending(store, SettingsError.exit_code)
        raise
    except RuntimeError as error:
        raise _lost(world, store, error) from error
    finally:
        # With peers gone NCCL would wait for them; the end of the process ends the group, too.
        if ended_well or world.device.type != "cuda":
            dist.destroy_process_group()


def _store() -> Store:
    """Return the processes' common store, empty.

    torchrun keeps one for all attempts on a machine, so each attempt has a corner of its own. Over
    several machines attempts are not counted alike: see docs/training.md.
    """
    store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
    machines = os.environ.get("GROUP_WORLD_SIZE", "1")
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if machines == "1" else "0"
    return PrefixStore(f"torchkeep/{attempt}", store)


def _say_ending(store: Store, code: int) -> None:
    store.set(_ENDING, str(code))


def _lost(world: World, store: Store, error: RuntimeError) -> Exception:
    """Return what to raise for an error in the middle of a training with others.

    An error that is not about the others stays what it is.
    """
    if not isinstance(error, dist.DistError) and not _is_about_others(error):
        return error
    with suppress(RuntimeError):  # the store may be gone, too
        if store.check([_ENDING]):
            sys.exit(int(store.get(_ENDING)))
    return ProcessLostError(
        f"process {world.rank} of {world.size} lost another one of this training",
        remedy="Run the same command again: it goes on where the last checkpoint was.",
    )


_SIGNS = ("onnection closed", "onnection reset", "roken pipe", "imed out", "NCCL")


def _is_about_others(error: RuntimeError) -> bool:
    """Gloo raises a bare `RuntimeError`; only its text tells."""
    return any(sign in str(error) for sign in _SIGNS)
