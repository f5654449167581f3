"""Prefect tasks: the gate that data must pass before training, and the one for the new model."""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Mapping
from datetime import datetime

from mlflow.entities.model_registry import ModelVersion
from prefect import task

from regression.config import Config
from regression.drift import DriftReport, Portrait, beyond, compare
from regression.errors import InputError
from regression.evaluation import held_out_scores
from regression.fitted import Fitted, NotComparableError
from regression.gate import Champion, Decision, Mean, decide
from regression.gate_config import Drift
from regression.prepared import Prepared
from regression.result import Result
from tasks.factor_cache import delete_unused
from tasks.screen import note, print_decision, print_drift
from tasks.tracking.housekeeping import prune, spans_in_use
from tasks.tracking.models import load_fitted
from tasks.tracking.moves import SCORES, barred, fingerprint
from tasks.tracking.portrait import load_portrait
from tasks.tracking.registry import RegisteredModel, carry_out, champion_of, registered_model
from tasks.tracking.run import Run

MOST_TOLD = 5  # columns that drifted, on the screen
PAUSES = (0.5, 3)  # seconds, before a champion counts as damaged


@task
def check_drift(run: Run, config: Config, data: Prepared) -> None:
    """Hold today's data against the champion's: metrics, a table, and the limits of `drift`.

    Raises:
        InputError: a limit is passed and drift.action is stop.
    """
    champion = champion_of(config.registry.model)
    if champion is None:
        return
    then = load_portrait(champion.run_id)
    if then is None:
        note(f"the data of version {champion.version} is not there to compare with")
        return
    report = compare(then, Portrait.of(data.rows, data.encoding))
    run.log(report.metrics())
    run.log_table("drift.json", _drift_table(report))
    print_drift(report, int(champion.version))
    _apply_limits(beyond(report, config.drift or Drift()), config, run, champion)


@task
def promote(run: Run, result: Result, model_uri: str) -> None:
    """Register the stored model as a version; let it be champion if it passes the gate.

    The version is born with its decision in one call and the aliases follow it, so a process killed
    at any moment leaves a promotion that is whole, not begun, or carried out by the next start.
    """
    data, rules = result.data, result.config.registry
    with registered_model(rules.model) as model:
        tags = _origin(run, result.config, data)
        champion = _rescored(model.champion, data)
        new = _scores(load_fitted(model_uri), data)
        mean = held_out_scores(Mean.of(data.rows), data.rows)
        decision = decide(rules, {**result.metrics, **new}, mean, champion, _barred(model, tags))
        tags |= _told(decision, rules.metric, new, mean, champion)
        version = model.register(model_uri, run.id, tags)
        now = carry_out(model.client, rules.model)
        print_decision(decision, rules.model, version, champion.version if champion else None)
        if prune(now, rules.keep):
            delete_unused(spans_in_use(now, rules.keep).hold)


def _apply_limits(found: list[str], config: Config, run: Run, champion: ModelVersion) -> None:
    if not found:
        return
    if len(found) > MOST_TOLD:
        found = [*found[:MOST_TOLD], f"{len(found) - MOST_TOLD} more columns moved (drift.json)"]
    since = f"since version {champion.version} of '{champion.name}' was trained"
    if config.drift and config.drift.action == "stop":
        raise InputError(
            f"data: {since}, {'; '.join(found)}. Look at the newest rows, or raise "
            "drift.max_shift, or set drift.action to warn."
        )
    run.log(tags={"drift": "; ".join(found)})
    for each in found:
        note(f"{since}, {each}")


def _drift_table(report: DriftReport) -> dict[str, list]:
    """The report by columns; JSON has no infinity, so that is written out."""

    def shown(value: float) -> float | str:
        return value if math.isfinite(value) else str(value)

    return {
        "column": [c.name for c in report.columns],
        "mean then": [shown(c.mean_then) for c in report.columns],
        "mean now": [shown(c.mean_now) for c in report.columns],
        "shift": [shown(c.shift) for c in report.columns],
        "spread ratio": [shown(c.spread_ratio) for c in report.columns],
        "state": [c.state for c in report.columns],
    }


def _rescored(version: ModelVersion | None, data: Prepared) -> Champion | None:
    """The champion on today's held-out rows."""
    if version is None:
        return None
    number = int(version.version)
    try:
        return Champion(number, _scores(_loaded(version), data))
    except InputError as error:
        note(f"version {number} cannot be loaded: {error}")
        return Champion(number, problem="its files are damaged or gone", broken=True)
    except NotComparableError as error:
        return Champion(number, problem=str(error))


def _loaded(version: ModelVersion) -> Fitted:
    """A version's numbers; storage that fails for a moment is asked again."""
    uri = f"models:/{version.name}/{version.version}"
    for pause in PAUSES:
        with contextlib.suppress(InputError):
            return load_fitted(uri, version.tags.get("target", ""))
        time.sleep(pause)
    return load_fitted(uri, version.tags.get("target", ""))


def _scores(fitted: Fitted, data: Prepared) -> dict[str, float]:
    return held_out_scores(fitted.on(data.rows, data.encoding), data.rows)


def _origin(run: Run, config: Config, data: Prepared) -> dict[str, str]:
    """What a version is made from."""
    parts = [config.data.model_dump(), config.training.model_dump()]
    told = json.dumps(parts, sort_keys=True, default=str)
    return {
        "data_digest": data.rows.digest,
        "config_digest": hashlib.sha256(told.encode()).hexdigest()[:16],
        "run_id": run.id,
        "target": data.rows.columns[-1],
    }


def _barred(model: RegisteredModel, tags: Mapping[str, str]) -> str:
    """Why this data and configuration may not give a champion."""
    move = barred(model.moves).get(fingerprint(tags))
    if move is None:
        return ""
    day = datetime.fromtimestamp(move.at / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"version {move.before}, of the same data and configuration, was rolled back on {day} by "
        f"{move.who}; it waits for other data"
    )


def _told(
    decision: Decision,
    metric: str,
    new: Mapping[str, float],
    mean: Mapping[str, float],
    champion: Champion | None,
) -> dict[str, str]:
    """The decision and everything it was made from, as tags."""
    tags = {
        "decision": "promoted" if decision.promoted else "kept",
        "reason": decision.reason,
        "metric": metric,
    }
    if champion:
        tags["champion_version"] = str(champion.version)
    if decision.margin is not None:
        tags["margin"] = repr(decision.margin)
    for prefix, scores in (
        ("", new),
        ("mean_", mean),
        ("champion_", champion.scores if champion else {}),
    ):
        tags |= {f"{prefix}{name}": repr(scores[name]) for name in SCORES if name in scores}
    return tags
