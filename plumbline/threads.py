"""How many threads torch computes with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
