"""Which failures of a GPU a worker outlives: a lack of memory, and no other that CUDA reports.

After an illegal memory access or a failed assertion on the device, every further call in the same
process fails too (CUDA Runtime API, "cudaErrorIllegalAddress": the process must be ended).
"""

from __future__ import annotations

import logging
import os

import torch

logger = logging.getLogger(__name__)

EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h."""

_MEMORY_ALLOCATION = 2
"""cudaErrorMemoryAllocation."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a smaller batch might have gone through."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return getattr(error, "error_code", None) == _MEMORY_ALLOCATION


def end_worker_if_fatal(error: BaseException) -> None:
    """End this process at once if its GPU is lost to it; TorchServe starts another worker."""
    if not isinstance(error, torch.AcceleratorError | torch.cuda.CudaError):
        return
    if is_out_of_memory(error):
        return
    reason = str(error).partition("\n")[0]
    logger.critical("this worker ends, for it has lost its GPU: %s", reason)
    logging.shutdown()
    os._exit(EXIT_STATUS)  # nothing may run on the way out: it would wait for the GPU for ever
