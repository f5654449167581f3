"""Threads: process parts of the data in parallel, and limit the threads that torch uses."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")

SMALL_STEP = 2**25  # rows times weights
NARROW = 1_000  # columns

OfPart = Callable[[str], Any]
MapParts = Callable[[OfPart, Sequence[str]], Iterable[Any]]  # as in_threads


def in_threads(function: OfPart, parts: Sequence[str]) -> Iterator[Any]:
    """Apply a function to parts in parallel threads; yield the results in the order of parts.

    The threads are at most two parts per CPU core ahead of the caller, so memory does not grow with
    the number of parts.
    """
    threads, coming = os.cpu_count() or 1, deque[Future[Any]]()
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            if len(coming) == 2 * threads:
                yield coming.popleft().result()
            coming.append(pool.submit(function, part))
        while coming:
            yield coming.popleft().result()


class _OneThread:
    """A context in which torch computes with one thread, so that results are the same to the bit.

    torch keeps the number of threads for each thread, and a default for threads that have not read
    it yet. A thread that first reads it while others are inside gets 1, so all of them restore the
    number that the first one found.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1
        self._this_thread = threading.local()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        nested = getattr(self._this_thread, "inside", False)
        with self._lock:
            found = torch.get_num_threads()  # reading it fixes it for this thread
            self._before = self._before if self._inside else found
            self._inside += 1
            torch.set_num_threads(1)
        self._this_thread.inside = True
        try:
            yield
        finally:
            self._this_thread.inside = nested
            with self._lock:
                self._inside -= 1
                torch.set_num_threads(1 if nested else self._before)


one_thread = _OneThread()


def threads_for_step(rows: int, weights: float) -> AbstractContextManager[object]:
    """The context to train so many weights in, with so many rows a step: one thread if steps are
    small.

    Two are no faster there, and many times slower on a busy machine: each product waits until all
    of its threads have had a core.
    """
    return one_thread() if rows * weights <= SMALL_STEP else nullcontext()


def threads_for_columns(count: int) -> AbstractContextManager[object]:
    """The context to factorise matrices of so many columns in: one thread unless they are many.

    A factorisation waits for its threads every few columns: on a busy machine of two cores, the
    exact fit, five folds and rates of 200 columns take 15 s with two threads, and 1.3 with one.
    """
    return one_thread() if count <= NARROW else nullcontext()


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items, making the next one in a thread while the caller uses the current one.

    The iterator must not reuse the memory of an item until the next item but one is requested.
    """

    def fetch() -> Item | None:
        with one_thread():
            return next(items, None)

    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(fetch)
        while (item := coming.result()) is not None:
            coming = maker.submit(fetch)
            yield item
