"""Processes that train: a sweep's trials are computed here, one a core.

Threads would not do: a training step is Python for the most part, and two threads of it take
longer than one. This module imports neither prefect nor mlflow, so that workers start fast.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from plumbline.config.schema import Config
from plumbline.linear.dataset import Dataset
from plumbline.training.experiment import Outcome, attempt

Attempt = Callable[[Config, Dataset, str], Outcome]
PATIENCE_SECONDS = 5
_given: dict[str, Any] = {}  # what a worker was started with


@contextmanager
def workers(device: str) -> Iterator[Attempt]:
    """Yields `attempt`, computed in a process that is waited for; threads may share it.

    Leaving the body early stops trials under way at their next epoch.

    Args:
        device: where trials compute.

    Raises:
        OSError: (the function) a process died.
    """
    # One process imports torch, with what its optimizers import on first use; workers are copies.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])
    stopped = context.Event()
    count = processes(device)
    pool = ProcessPoolExecutor(count, context, _begin, (stopped,))
    for _ in range(count):
        pool.submit(os.getpid)  # starts them now: they import while the rows are read

    def attempt_there(config: Config, data: Dataset, device: str) -> Outcome:
        # Bytes both ways: torch would move every small tensor to shared memory, a file each.
        try:
            told = pool.submit(_attempt, _packed(data), pickle.dumps((config, device))).result()
        except BrokenProcessPool:
            raise OSError(
                "a process that trains ended by itself: killed, or out of memory. The same "
                "command goes on where this sweep stopped."
            ) from None
        return pickle.loads(told)

    try:
        yield attempt_there
    finally:
        stopped.set()
        end = threading.Thread(target=lambda: pool.shutdown(cancel_futures=True), daemon=True)
        end.start()
        end.join(PATIENCE_SECONDS)  # what is in a long epoch ends with this process


def processes(device: str) -> int:
    """How many train: one a core; two on an accelerator, each with a context of its own there."""
    return (os.cpu_count() or 1) if device == "cpu" else 2


def _begin(stopped: Any) -> None:
    """Make a worker: it leaves Ctrl-C to its starter, and ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _given["stopped"] = stopped

    def end() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
    import torch

    torch.set_num_threads(1)


@lru_cache(2)
def _packed(data: Dataset) -> bytes:
    return pickle.dumps(data)


@lru_cache(2)
def _unpacked(data: bytes) -> Dataset:
    """Data as the last trial had it, with what was computed from it once."""
    return pickle.loads(data)


def _attempt(data: bytes, told: bytes) -> bytes:
    config, device = pickle.loads(told)

    def on_epoch(epoch: int, loss: float, **others: float) -> None:
        if _given["stopped"].is_set():
            raise KeyboardInterrupt

    return pickle.dumps(attempt(config, _unpacked(data), device, on_epoch))
