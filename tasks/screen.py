"""Output on the terminal."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:  # commands print before the slow imports
    from plumbline.linear.description import Column
    from plumbline.linear.penalty import PenaltyPath
    from plumbline.registry.history import HistoryEntry
    from plumbline.training.trained import Trained

MOST_LINES = 25  # of coefficients
WORST_PERCENT = -1_000  # a worse gain is printed as a ratio


def print_epoch(epoch: int, epochs: int, loss: float, validation_loss: float | None = None) -> None:
    """Print the tutorial's line, with the loss on the validation rows if there are any."""
    beside = "" if validation_loss is None else f", Validation loss: {validation_loss:.4f}"
    print(f"Epoch [{epoch}/{epochs}], Loss: {loss:.4f}{beside}", flush=True)


def print_fit(
    metrics: Mapping[str, float], counts: Mapping[str, int], largest: Mapping[str, float]
) -> None:
    """Print the number of rows and the scores of the model on them.

    Args:
        metrics: of the run.
        counts: of its rows and files.
        largest: the accuracy of always predicting the largest class, for "train" and "test".
    """
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
    for name, share in (("Train", "train"), ("Held out", "test")):
        if f"{share}_rmse" in metrics:
            r2 = metrics.get(f"{share}_r2", math.nan)
            print(f"{name}: RMSE {metrics[f'{share}_rmse']:.6g}, R² {r2:.6g}")
        if f"{share}_accuracy" in metrics:
            print(f"{name}: {_class_scores(share, metrics, largest)}")
    if "linear_cv_rmse_mean" in metrics:
        mean, deviation = metrics["linear_cv_rmse_mean"], metrics["linear_cv_rmse_std"]
        print(f"Cross-validation of the exact fit: RMSE {mean:.6g} ± {deviation:.2g}")


def print_gain(metrics: Mapping[str, float], rows: int) -> None:
    """Print how much better the model is than the exact linear model on the same held-out rows."""
    if "gain_over_linear" not in metrics:
        return
    classes = "test_log_loss" in metrics
    score, what = ("log_loss", "log-loss") if classes else ("rmse", "RMSE")
    percent = 100 * metrics["gain_over_linear"]
    shown = f"{abs(percent):.1f}"
    if shown == "0.0":
        worth = "As good as"
    elif percent < WORST_PERCENT:
        ratio = metrics[f"test_{score}"] / metrics[f"linear_test_{score}"]
        worth = f"{ratio:.3g} times the {what} of"
    else:
        worth = f"{shown} % {'better' if percent > 0 else 'worse'} than"
    linear, knows_nothing = ("logistic", "majority") if classes else ("exact linear", "mean")
    poor = metrics[f"linear_test_{score}"] > metrics[f"{knows_nothing}_test_{score}"]
    beside = f", which is worse there than {knows_nothing}_test_{score}" if poor else ""
    print(f"{worth} the {linear} model on the same {rows:,} rows{beside}", flush=True)


def _class_scores(share: str, metrics: Mapping[str, float], largest: Mapping[str, float]) -> str:
    accuracy, log_loss = metrics[f"{share}_accuracy"], metrics[f"{share}_log_loss"]
    ranked = f", ROC AUC {metrics['test_roc_auc']:.6g}" if "test_roc_auc" in metrics else ""
    return (
        f"accuracy {accuracy:.6g} (always the largest class: {largest[share]:.6g}), log-loss "
        f"{log_loss:.6g}{ranked if share == 'test' else ''}"
    )


def print_exact(trained: "Trained", metrics: Mapping[str, float]) -> None:
    """Print the exact solution next to a linear model: optimum, rates and coefficients."""
    best = trained.exact.optimum
    print(
        f"Exact optimum: MSE {best.mse:.6g}; this model is {metrics['optimality_gap']:.3g} above "
        f"it. Condition number {best.condition:.3g}"
    )
    if trained.exact.largest_stable_rate is not None:
        print(
            f"Learning rate: {trained.exact.rate:.6g}; the largest stable one is "
            f"{trained.exact.largest_stable_rate:.6g}"
        )
    if trained.exact.penalized:
        _print_penalty(trained.exact.penalized.path)
    _print_coefficients(trained)


def _print_penalty(path: "PenaltyPath") -> None:
    kept = int(path.weights[path.chosen].count_nonzero())
    print(
        f"Penalty: strength {path.strength:.6g} leaves {kept} of {len(path.names)} weights", end=""
    )
    if path.errors.shape[1]:
        error, spread = (float(x[path.chosen]) for x in (path.mean_errors, path.standard_errors))
        print(f"; RMSE {error:.6g} ± {spread:.2g} (standard error) over the folds", end="")
    print()


def _print_coefficients(trained: "Trained") -> None:
    lines = trained.coefficients
    width = max(len(best.name) for _, best in lines[:MOST_LINES])
    print(f"{'':{width}}  {'trained':>13}  {'least squares':>13}  {'std. error':>11}  {'t':>9}")
    for value, best in lines[:MOST_LINES]:
        known = f"{best.error:11.4g}  {best.t_value:9.3g}" if best.error else f"{'-':>11}  {'-':>9}"
        print(f"{best.name:{width}}  {value:13.6g}  {best.value:13.6g}  {known}")
    if len(lines) > MOST_LINES:
        print(f"... {len(lines) - MOST_LINES} more in coefficients.json")
    sys.stdout.flush()


def print_history(model: str, history: "Sequence[HistoryEntry]") -> None:
    """Print which version of a model was live when, oldest first."""
    if not history:
        print(f"'{model}' has no version yet.")
        return
    newest = max(history, key=lambda each: (bool(each.scores), each.since or 0))
    classes = "test_log_loss" in newest.scores  # older versions may have predicted numbers
    names = ("test_log_loss", "test_accuracy") if classes else ("test_rmse", "test_r2")
    print(f"{'version':>7}  {'live from':19}  {'until':19}  {names[0]:>13}  {names[1]:>13}")
    for each in history:
        since = _moment(each.since) if each.since else "-"
        until = _moment(each.until) if each.until else ("now" if each.since else "-")
        shown = [f"{float(each.scores[n]):.6g}" if n in each.scores else "-" for n in names]
        moments, live = f"{since:19}  {until:19}", each.version or "none"
        print(f"{live:>7}  {moments}  {shown[0]:>13}  {shown[1]:>13}  {each.message}")


def _moment(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))


def print_columns(columns: "Sequence[Column]", rows: str) -> None:
    """Print the number of rows, what each column of a table holds, and how it is used."""
    console = Console(highlight=False, emoji=False, markup=False)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("Column", "Kind", "Missing", "Levels", "Mean or most frequent", "Becomes"):
        shown.add_column(heading, overflow="fold")
    for each in columns:
        missing = "-" if each.missing is None else f"{each.missing:.1%}"
        values = "-" if each.mean is None else f"{each.mean:.4g} ± {each.deviation:.4g}"
        values = f"{each.most_frequent} {each.share:.1%}" if each.most_frequent else values
        levels = "-" if each.levels is None else f"{each.levels:,}"
        name = each.name or "(without a name)"
        shown.add_row(name, each.kind or "-", missing, levels, values, each.becomes)
    console.print(rows, shown, sep="\n")


def note(text: str) -> None:
    """Print a note about something unusual or worth knowing."""
    print(f"Note: {text}", flush=True)


def warn(text: str) -> None:
    """Print a warning about something that is probably unintended."""
    print(f"Warning: {text}", flush=True)


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Show a progress bar during the body if standard output is a terminal.

    Yields:
        A function of how much is done, and of a text beside the bar; cheap enough to be called
        every epoch.
    """
    if not sys.stdout.isatty():
        yield lambda done, beside="": None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    beside = TimeRemainingColumn(), TextColumn("{task.fields[beside]}")
    with Progress(*columns, *beside, transient=True) as progress:
        bar = progress.add_task(what, total=total, beside="")
        yield lambda done, beside="": progress.update(bar, completed=done, beside=beside)
