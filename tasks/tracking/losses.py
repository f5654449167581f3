"""The loss of every epoch and what goes with it, to MLflow in batches while training runs."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow.entities import Metric

from tasks.tracking.store import disable_retries

FLUSH_SECONDS = 1.0
PATIENCE_SECONDS = 10.0  # how long an interrupted run waits for the store
BATCH = 1_000  # the most metrics that MLflow takes in one call


class LossLog:
    """A buffer that a thread empties about once a second.

    One call an epoch would cost 3 ms each; one call at the end would show nothing meanwhile and
    lose everything to kill -9. If the store is down, training continues and losses wait here. A
    batch whose answer was lost is sent again as it was, with its times, and so is stored once.

    Attributes:
        known: the metrics and epochs that the store has already, if the run is resumed.
    """

    def __init__(self, send: Callable[[list[Metric]], None]) -> None:
        self.known: set[tuple[str, int]] = set()
        self._send = send
        self._waiting: list[Metric] = []
        self._failed: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._flush_now_and_then, daemon=True)

    def add(self, epoch: int, loss: float, **others: float) -> None:
        """Take one loss, and other metrics of the same epoch; never blocks."""
        now = int(time.time() * 1000)
        given = {"loss": loss, **others}.items()
        new = (Metric(n, value, now, epoch) for n, value in given if (n, epoch) not in self.known)
        self._waiting.extend(new)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send while the body runs, and then what is left."""
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
        """Send what is left; raises what that met."""
        self._finish()
        if self._failed:
            raise self._failed

    def _finish(self, patience: float | None = None) -> None:
        """Send what is left and raise nothing: an error must not be its own cause's context.

        Args:
            patience: seconds after which a store that is away is not waited for any longer.
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

    def _flush_now_and_then(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            self._flush()

    def _flush(self) -> None:
        self._failed = None
        try:
            while self._waiting:
                batch = self._waiting[:BATCH]
                self._send(batch)
                del self._waiting[: len(batch)]  # only add() runs beside this, and it appends
        except Exception as error:
            self._failed = error
