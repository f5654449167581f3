"""The Prefect task that checks for drift before training, and the data for the drift plots."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from prefect import task

from plumbline.config.running import Drift
from plumbline.config.schema import Config
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.registry.drift import DataProfile, DriftReport, compare, exceeded_limits
from plumbline.registry.stability import PredictionShares
from plumbline.training.experiment import Result
from tasks.screen import note
from tasks.tracking.models import load_profile
from tasks.tracking.registry import ModelVersion, incumbent_of
from tasks.tracking.run import Run

MOST_SHOWN = 5  # columns that drifted, in messages


@task
def check_drift(run: Run, config: Config, data: Dataset) -> DriftReport | None:
    """Compare the data with the champion's: log metrics and a table, apply the limits of `drift`.

    Returns:
        The report; None if there is no champion, or no profile of its data.

    Raises:
        InputError: a limit is exceeded and drift.action is stop.
    """
    champion = incumbent_of(config.registry.model)
    if champion is None:
        return None
    then = load_profile(champion.run_id)
    if then is None:
        note(
            f"no drift check, because the data profile of version {champion.version} is missing or "
            "damaged; the next champion will have one"
        )
        return None
    report = compare(then, DataProfile.of(data))
    metrics = report.metrics()
    run.log(metrics)
    run.client.log_table(run.id, _drift_table(report), "drift.json")
    _print(report, metrics, champion.version)
    _apply_limits(exceeded_limits(report, config.drift or Drift()), config, run, champion)
    return report


def profile_of(result: Result) -> DataProfile:
    """The profile of a run's data, with its model's predictions."""
    return replace(DataProfile.of(result.data), predictions=_predictions(result))


def drift_plot_data(report: DriftReport, result: Result) -> dict[str, Any]:
    """The data for the drift plots, as `draw_drift` takes it.

    Returns:
        `shifts`: (column, shift) of numbers, in standard deviations of the champion's data;
        `shares`: (indicator, share then, share now); `stability`: the stability index of each
        column; `predictions`: None, or the `edges` between the tenths (for numbers), the shares
        `then` and `now`, and their stability `index`.
    """
    shares, shifts = [], []
    for column in report.columns:
        if "=" in column.name and column.name.partition("=")[0] in report.stability:
            both = (column.mean_then, column.mean_now)
            shares.append((column.name, *(0.0 if math.isnan(share) else share for share in both)))
        elif math.isfinite(column.shift):
            shifts.append((column.name, column.shift))
    then, now = report.predictions_then, None
    if then and bool(then.edges) != bool(result.data.encoding.classes):
        now = _predictions(result, then)
    predictions = now and {
        "edges": then.edges,
        "then": then.shares,
        "now": now.shares,
        "index": now.index_since(then),
    }
    found = {"shifts": shifts, "shares": shares, "stability": report.stability}
    return found | {"predictions": predictions}


def _predictions(result: Result, then: PredictionShares | None = None) -> PredictionShares | None:
    """The shares of the predictions for the sample's rows; None if there are no rows."""
    outputs, classes = result.outputs, result.data.encoding.classes
    if not len(outputs):
        return None
    if classes:
        return PredictionShares.of([classes[place] for place in outputs.argmax(dim=1)], then)
    return PredictionShares.of(outputs[:, 0].numpy(), then)


def _print(report: DriftReport, metrics: Mapping[str, float], version: str) -> None:
    """Print how the data differs from the champion's, in two lines."""
    furthest = report.furthest
    print(
        f"Data against version {version}'s: rows {report.rows_then:,} to {report.rows_now:,}, "
        f"missing {report.missing_then:.2%} to {report.missing_now:.2%}"
    )
    if not math.isnan(furthest.shift):
        print(
            f"  largest shift of a mean {furthest.shift:+.3g} deviations ({furthest.name}), "
            f"deviations {metrics['drift_spread_ratio_min']:.3g} to "
            f"{metrics['drift_spread_ratio_max']:.3g} times as large, correlations moved by at "
            f"most {report.correlation_change:.2g}",
            flush=True,
        )


def _apply_limits(found: list[str], config: Config, run: Run, champion: ModelVersion) -> None:
    if not found:
        return
    if len(found) > MOST_SHOWN:
        found = [*found[:MOST_SHOWN], f"{len(found) - MOST_SHOWN} more columns moved (drift.json)"]
    since = f"since version {champion.version} of '{champion.name}' was trained"
    if config.drift and config.drift.action == "stop":
        raise InputError(
            f"data: {since}, {'; '.join(found)}. Look at the newest rows, or raise "
            "drift.max_shift, or set drift.action to warn."
        )
    run.log(tags={"drift": "; ".join(found)})
    for each in found:
        note(f"{since}, {each}")


def _drift_table(report: DriftReport) -> pd.DataFrame:
    """A row for each column; inf and NaN are written as text, which JSON does not have."""
    table = pd.DataFrame(report.columns).rename(columns={"name": "column"})
    return table.rename(columns=lambda name: name.replace("_", " ")).replace(
        {math.inf: "inf", -math.inf: "-inf", math.nan: "nan"}
    )
