"""Sends the losses of every epoch to MLflow, in batches, while training runs."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow.entities import Metric

from tasks.tracking.store import disable_retries

FLUSH_SECONDS = 1.0
PATIENCE_SECONDS = 10.0  # how long an interrupted run waits for the store
BATCH = 1_000  # MLflow's limit for the metrics of one call


class LossLog:
    """A buffer of metrics that a thread sends about once a second.

    A call for every epoch would take 3 ms each. A single call at the end would show nothing
    during training, and kill -9 would lose it all. If the store is down, training continues and
    the metrics wait here. A batch is sent again unchanged if the answer was lost, with the same
    timestamps, so MLflow stores it once.

    Attributes:
        known: (metric, epoch) pairs that the store already has, of a run that is resumed.
    """

    def __init__(self, send: Callable[[list[Metric]], None]) -> None:
        self.known: set[tuple[str, int]] = set()
        self._send = send
        self._waiting: list[Metric] = []
        self._failed: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._flush_repeatedly, daemon=True)

    def add(self, epoch: int, loss: float, **others: float) -> None:
        """Add an epoch's loss and other metrics to the buffer; never blocks."""
        now = int(time.time() * 1000)
        given = {"loss": loss, **others}.items()
        new = (Metric(n, value, now, epoch) for n, value in given if (n, epoch) not in self.known)
        self._waiting.extend(new)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send metrics while the body runs, and the rest when it ends."""
        self._thread.start()
        try:
            yield
        except BaseException as error:
            interrupted = not isinstance(error, Exception)
            if interrupted:
                disable_retries()
            self._finish(PATIENCE_SECONDS if interrupted else None)
            raise
        self.close()

    def close(self) -> None:
        """Send the rest; raise the error if that failed."""
        self._finish()
        if self._failed:
            raise self._failed

    def _finish(self, patience: float | None = None) -> None:
        """Send the rest; keep an error in `_failed` instead of raising it.

        Raised here, it would replace the error that ended the body.

        Args:
            patience: how many seconds to wait for the thread; None: until it ends.
        """
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(patience)
        if self._thread.is_alive():
            return
        if not self._failed:
            self._flush()
        if self._failed:
            disable_retries()

    def _flush_repeatedly(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            self._flush()

    def _flush(self) -> None:
        self._failed = None
        try:
            while self._waiting:
                batch = self._waiting[:BATCH]
                self._send(batch)
                del self._waiting[: len(batch)]  # add() may run meanwhile, but it only appends
        except Exception as error:
            self._failed = error
