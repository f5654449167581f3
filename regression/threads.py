"""How many threads torch computes with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _OneThread:
    """One thread of arithmetic each: parts run side by side, and the last bit stays the same.

    torch's setting is the whole process's: the first in saves it, the last out restores it.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
            self._inside += 1
        torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    torch.set_num_threads(self._before)


one_thread = _OneThread()
