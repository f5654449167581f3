"""The loss of every epoch and what goes with it, to MLflow in batches while training runs."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from mlflow.entities import Metric

from tasks.tracking.store import disable_retries

FLUSH_SECONDS = 1.0
PATIENCE_SECONDS = 10.0  # of one who interrupts
BATCH = 1_000  # the most metrics that MLflow takes in one call


class LossLog:
    """A buffer that a thread empties about once a second.

    One call an epoch would cost 3 ms each; one call at the end would show nothing meanwhile and
    lose everything to kill -9. Where the store is away, training goes on and losses wait here. A
    batch whose answer was lost is sent again as it was, with its times, and so is stored once.
    Used as a context manager: leaving it sends what is left.
    """

    def __init__(self, send: Callable[[list[Metric]], None]) -> None:
        self._send = send
        self._waiting: list[Metric] = []
        self._failed: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._flush_now_and_then, daemon=True)

    def add(self, epoch: int, loss: float, **others: float) -> None:
        """Take one loss, and other metrics of the same epoch; never blocks."""
        now = int(time.time() * 1000)
        told = {"loss": loss, **others}
        self._waiting.extend(Metric(name, value, now, epoch) for name, value in told.items())

    def close(self) -> None:
        """Send what is left; raises what that met."""
        self._finish()
        if self._failed:
            raise self._failed

    def _finish(self) -> None:
        """Send what is left. It raises nothing: raised again while another error that followed
        from it is handled, an error would be its own cause."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if not self._failed:
            self._flush()

    def __enter__(self) -> "LossLog":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind and not issubclass(kind, Exception) and not self._ends_soon():
            return
        self._finish()
        if self._failed:
            disable_retries()
            if not kind:
                raise self._failed

    def _ends_soon(self) -> bool:
        """Whether the thread, asked to end, is not held up by a store that is away."""
        disable_retries()
        self._ended.set()
        self._thread.join(PATIENCE_SECONDS)
        return not self._thread.is_alive()

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
