"""What a person sees on the terminal."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from regression.training import Trained

EVERY_EPOCHS = 100
MOST_LINES = 25  # of coefficients
QUIET_SECONDS = 1.0  # no bar for what is over sooner


def print_epoch(epoch: int, epochs: int, loss: float, last: bool = False) -> None:
    """The tutorial's line, every 100 epochs and for the last one."""
    if epoch % EVERY_EPOCHS == 0 or last or epoch == epochs:
        print(f"Epoch [{epoch}/{epochs}], Loss: {loss:.4f}", flush=True)


def print_fit(trained: Trained, metrics: Mapping[str, float], counts: Mapping[str, int]) -> None:
    """What the data says beside the model: rows, scores, and the exact answer."""
    rows = counts["rows_new"] + counts["rows_reused"]
    files = counts["files_new"] + counts["files_reused"]
    print(
        f"Rows: {rows:,} in {files:,} files ({counts['files_reused']:,} of them read before), "
        f"{counts['rows_dropped']:,} dropped"
    )
    if counts["files_left_out"]:
        left_out = counts.get("rows_left_out")
        print(
            f"Outside the window: {counts['files_left_out']:,} files, "
            f"{'uncounted' if left_out is None else format(left_out, ',')} rows"
        )
    shares = [("Train", "train"), ("Held out", "test")]
    for name, share in shares:
        if f"{share}_rmse" in metrics:
            r2 = metrics.get(f"{share}_r2", math.nan)
            print(f"{name}: RMSE {metrics[f'{share}_rmse']:.6g}, R² {r2:.6g}")
    if "cv_rmse_mean" in metrics:
        print(
            f"Cross-validation: RMSE {metrics['cv_rmse_mean']:.6g} ± {metrics['cv_rmse_std']:.2g}"
        )
    best = trained.plan.optimum
    print(
        f"Exact optimum: MSE {best.mse:.6g}; this model is {metrics['optimality_gap']:.3g} above "
        f"it. Condition number {best.condition:.3g}"
    )
    if trained.plan.stable_rate is not None:
        print(
            f"Learning rate: {trained.plan.rate:.6g}; the largest stable one is "
            f"{trained.plan.stable_rate:.6g}"
        )
    _print_coefficients(trained)


def _print_coefficients(trained: Trained) -> None:
    best = trained.plan.optimum
    lines = [("intercept", trained.intercept, best.intercept, best.intercept_error)]
    lines += zip(
        best.names, trained.weights.tolist(), best.weights.tolist(), best.errors, strict=True
    )
    width = max(len(line[0]) for line in lines[:MOST_LINES])
    print(f"{'':{width}}  {'trained':>13}  {'least squares':>13}  {'std. error':>11}  {'t':>9}")
    for name, value, exact, error in lines[:MOST_LINES]:
        known = f"{error:11.4g}  {exact / error:9.3g}" if error else f"{'-':>11}  {'-':>9}"
        print(f"{name:{width}}  {value:13.6g}  {exact:13.6g}  {known}")
    if len(lines) > MOST_LINES:
        print(f"... {len(lines) - MOST_LINES} more in coefficients.json")
    sys.stdout.flush()


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
