"""Where a sweep's trials train: in processes here, one per core, or on workers of a Ray cluster.

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
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from plumbline.config.schema import Config
from plumbline.linear.dataset import Dataset
from plumbline.threads import one_thread
from plumbline.training.experiment import Outcome, attempt
from plumbline.training.user_module import load_user_file
from tasks.cluster import clear_errors, connected
from tasks.search import pruning_rule

Work = Callable[[], Outcome]
Train = Callable[..., Work]  # of a configuration, its data, a device, and a pruner if there is one
# The same data for many trials: packed once, and unpacked once by each process, which then has
# what was computed from it, too.
_packed, _unpacked = lru_cache(2)(pickle.dumps), lru_cache(2)(pickle.loads)


@contextmanager
def workers(device: str) -> Iterator[Train]:
    """Yield a function of an experiment, its data, its device and its pruner (from `search`).

    It returns a callable that trains the experiment elsewhere and waits for the outcome; call that
    in a thread, or with a Ray cluster on a worker there. Leaving the body ends what is under way.

    Args:
        device: where trials compute if they train here.

    Raises:
        OSError: (the work, or the body) a process that trains died.
    """
    if connected():
        import ray

        stored = lru_cache(ray.put)  # once for all trials that share it
        with clear_errors():

            def on_ray(config: Config, data: Dataset, *rest: Any) -> Work:
                if config.model.kind == "python":
                    load_user_file(config.model)  # its content goes along
                return partial(_train_on_ray, config, stored(data), *rest)

            yield on_ray
        return
    # One process imports torch, with what its optimizers import on first use; workers are copies.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])
    count, (inherited, ours) = processes(device), context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, _begin, (inherited,))
    with ours:  # closed when the body ends, and by the system when this process does
        for _ in range(count):
            pool.submit(os.getpid)  # starts them now: they import while the rows are read
        yield partial(partial, _train_in, pool)


def processes(device: str) -> int:
    """How many train: one per core; on an accelerator two, each with its own context there."""
    return (os.cpu_count() or 1) if device == "cpu" else 2


def _begin(starter: Connection) -> None:
    """Make a worker: it leaves Ctrl-C to its starter, and ends as soon as that end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)

    def end() -> None:
        with suppress(EOFError, OSError):
            starter.recv()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _train_in(
    pool: ProcessPoolExecutor, config: Config, data: Dataset, device: str, pruner: bytes = b""
) -> Outcome:
    """Bytes both ways: torch would move every small tensor to shared memory, a file each."""
    try:
        return pickle.loads(pool.submit(_train, config, _packed(data), device, pruner).result())
    except BrokenProcessPool:
        raise OSError(
            "a process that trains ended by itself: killed, or out of memory. The same "
            "command continues where this sweep stopped."
        ) from None


def _train(config: Config, data: bytes, device: str, pruner: bytes) -> bytes:
    return pickle.dumps(attempt(config, _unpacked(data), device, pruning_rule(pruner)))


def _train_on_ray(config: Config, stored: Any, device: str, pruner: bytes = b"") -> Outcome:
    import ray

    with one_thread():
        return attempt(config, ray.get(stored), device, pruning_rule(pruner))
