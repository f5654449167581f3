"""What a person sees on the terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_EPOCHS = 100
QUIET_SECONDS = 1.0  # no bar for what is over sooner


def print_epoch(epoch: int, epochs: int, loss: float, last: bool = False) -> None:
    """The tutorial's line, every 100 epochs and for the last one."""
    if epoch % EVERY_EPOCHS == 0 or last or epoch == epochs:
        print(f"Epoch [{epoch}/{epochs}], Loss: {loss:.4f}", flush=True)


def note(text: str) -> None:
    """A line about something unusual that is no error."""
    print(f"Note: {text}", flush=True)


class Bar:
    """A progress bar that appears after a second, on a terminal only."""

    def __init__(self, what: str, total: int) -> None:
        self._began, self._what, self._total = time.monotonic(), what, total
        self._progress: Progress | None = None
        self._terminal = sys.stdout.isatty()
        self._next = 0.0

    def show(self, done: int) -> None:
        """Say how much is done; cheap enough for every epoch."""
        if not self._terminal:
            return
        now = time.monotonic()
        if now < self._next or now - self._began < QUIET_SECONDS:
            return
        self._next = now + 0.1
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(),
                transient=True,
            )
            self._progress.start()
            self._progress.add_task(self._what, total=self._total)
        self._progress.update(self._progress.task_ids[0], completed=done)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def bar(what: str, total: int) -> Iterator[Bar]:
    """A bar for the length of the body."""
    shown = Bar(what, total)
    try:
        yield shown
    finally:
        shown.close()
