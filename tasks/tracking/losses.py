"""The loss of every epoch, to MLflow in batches while training runs."""

import threading
import time
from collections.abc import Callable

from mlflow.entities import Metric

FLUSH_SECONDS = 1.0
BATCH = 1_000  # the most metrics that MLflow takes in one call


class LossLog:
    """A buffer that a thread empties about once a second.

    One call an epoch would cost 3 ms each; one call at the end would show nothing meanwhile and
    lose everything to kill -9. Used as a context manager: leaving it sends what is left.
    """

    def __init__(self, send: Callable[[list[Metric]], None]) -> None:
        self._send = send
        self._waiting: list[Metric] = []
        self._failed: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._flush_now_and_then, daemon=True)

    def add(self, epoch: int, loss: float) -> None:
        """Take one loss; never blocks. Raises what an earlier flush met."""
        if self._failed:
            raise self._failed
        self._waiting.append(Metric("loss", loss, int(time.time() * 1000), epoch))

    def __enter__(self) -> "LossLog":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._flush()
        if self._failed and not any(error):
            raise self._failed

    def _flush_now_and_then(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            self._flush()

    def _flush(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:BATCH]
                self._send(batch)
                del self._waiting[: len(batch)]  # only add() runs beside this, and it appends
        except Exception as error:
            self._failed = error
