"""How many threads torch computes with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _OneThread:
    """One thread of arithmetic each: parts run side by side, and the last bit stays the same.

    torch's setting is the whole process's for threads to come: the first in saves it, the last out
    restores it. A thread that left while others were inside keeps reading 1, so what it reads when
    it is the first in again is not saved.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1
        self._this_thread = threading.local()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._inside and not getattr(self._this_thread, "limited", False):
                self._before = torch.get_num_threads()
            self._inside += 1
            self._this_thread.limited = True
            torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._this_thread.limited = False
                    torch.set_num_threads(self._before)


one_thread = _OneThread()
