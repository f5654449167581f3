"""Trains a sweep's trials in processes, one per core, or on the workers of a Ray cluster.

Threads would not help: a training step is mostly Python code, and two threads take longer than one.
This module imports neither prefect nor mlflow, so that workers start fast.
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
Train = Callable[..., Work]  # of a configuration, its data, a device, and a pruner if any
# Many trials share the same data, so it is pickled once and unpickled once by each process, which
# then also keeps what it has computed from the data.
_packed, _unpacked = lru_cache(2)(pickle.dumps), lru_cache(2)(pickle.loads)


@contextmanager
def workers(device: str) -> Iterator[Train]:
    """Yield a function of a configuration, its data, its device and its pruner (from `search`).

    It returns a callable that trains in another process and waits for the outcome, to be called in
    a thread, or, with a Ray cluster, on one of its workers. The processes end with the body.

    Args:
        device: the device of trials that train on this machine.

    Raises:
        OSError: a process died; raised by the callable or in the body.
    """
    if connected():
        import ray

        stored = lru_cache(ray.put)  # data is sent once for all trials that share it
        with clear_errors():

            def on_ray(config: Config, data: Dataset, *rest: Any) -> Work:
                if config.model.kind == "python":
                    load_user_file(config.model)  # so that its content is sent along
                return partial(_train_on_ray, config, stored(data), *rest)

            yield on_ray
        return
    # One process imports torch and what its optimizers import on first use; workers are its forks.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])
    count, (inherited, ours) = processes(device), context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, _begin, (inherited,))
    with ours:  # closed at the end of the body, or by the system at the end of this process
        for _ in range(count):
            pool.submit(os.getpid)  # starts the workers now, so that they import meanwhile
        yield partial(partial, _train_in, pool)


def processes(device: str) -> int:
    """The number of workers: one per core, or two on an accelerator, each with its own context."""
    return (os.cpu_count() or 1) if device == "cpu" else 2


def _begin(starter: Connection) -> None:
    """Set up a worker: it ignores Ctrl-C, and ends as soon as its starter closes the pipe."""
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
    """Train in a process of the pool. Only bytes are sent, because torch would move every small
    tensor to shared memory, in a file of its own."""
    try:
        return pickle.loads(pool.submit(_train, config, _packed(data), device, pruner).result())
    except BrokenProcessPool:
        raise OSError(
            "a process that trains was killed or ran out of memory. Run the same command again: it "
            "continues where this sweep stopped."
        ) from None


def _train(config: Config, data: bytes, device: str, pruner: bytes) -> bytes:
    return pickle.dumps(attempt(config, _unpacked(data), device, pruning_rule(pruner)))


def _train_on_ray(config: Config, stored: Any, device: str, pruner: bytes = b"") -> Outcome:
    import ray

    with one_thread():
        return attempt(config, ray.get(stored), device, pruning_rule(pruner))
