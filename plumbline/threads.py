"""Threads: parts of the data side by side, and how many of them torch computes with."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")

OfPart = Callable[[str], Any]
MapParts = Callable[[OfPart, Sequence[str]], Iterable[Any]]  # as in_threads


def in_threads(function: OfPart, parts: Sequence[str]) -> Iterator[Any]:
    """What a function makes of each part, a part a thread, in the parts' order.

    Few results wait for the caller at a time, so that memory does not grow with the parts.
    """
    threads, coming = os.cpu_count() or 1, deque[Future]()
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            if len(coming) == 2 * threads:
                yield coming.popleft().result()
            coming.append(pool.submit(function, part))
        while coming:
            yield coming.popleft().result()


class _OneThread:
    """Compute with one thread each: parts run side by side, and the last bit stays the same.

    torch keeps a number for each thread, and one for threads that have not asked for it yet. A
    thread that first asks while others are inside is told 1, so all restore what the first found.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1
        self._this_thread = threading.local()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        nested = getattr(self._this_thread, "inside", False)
        with self._lock:
            found = torch.get_num_threads()  # and from now on others do not change it
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


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next of which a thread makes while the caller uses one.

    What makes them must not overwrite an item before the next but one is asked for.
    """

    def fetch() -> Item | None:
        with one_thread():
            return next(items, None)

    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(fetch)
        while (item := coming.result()) is not None:
            coming = maker.submit(fetch)
            yield item
