"""The Prefect task that decides whether a new model becomes the champion."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from prefect import task
from prefect.events import emit_event

from plumbline.config.metrics import COMPARABLE
from plumbline.config.schema import Config
from plumbline.linear.dataset import Dataset
from plumbline.registry.gate import Champion, Decision, decide
from plumbline.registry.history import blocked, fingerprint, scores_of
from plumbline.registry.scoring import NotComparableError, score
from plumbline.training.evaluation import held_out_scores, mean_model
from plumbline.training.experiment import Result
from tasks.factor_cache import FactorCache
from tasks.recording import MODEL_FILE_DIGEST
from tasks.screen import note
from tasks.tracking.housekeeping import prune, use_of_factors
from tasks.tracking.models import DamagedModelError, load_stored, load_version
from tasks.tracking.registry import (
    ModelVersion,
    RegisteredModel,
    apply_promotions,
    registered_model,
)
from tasks.tracking.run import Run


@task
def promote(run: Run, result: Result, model_uri: str) -> None:
    """Register the stored model as a version, and make it the champion if it passes the gate.

    The version is created together with its decision in one call, and the aliases are set after
    that. If the process is killed at any moment, the promotion is therefore complete, not begun, or
    completed by the next command.
    """
    data, rules = result.data, result.config.registry
    with registered_model(rules.model) as model:
        tags = _origin(run, result.config, data)
        champion = _rescored(model.incumbent, result)
        metrics = _new_metrics(model_uri, result)
        baseline = _baseline(result)
        decision = decide(rules, metrics, baseline, champion, _blocked(model, tags))
        tags |= _decision_tags(decision, rules.metric, metrics, baseline, champion)
        version = model.register(model_uri, run.id, tags)
        now = apply_promotions(model.client, rules.model)
        _print_decision(decision, model, version, champion)
        _emit(rules.model, version, tags)
        if prune(now, rules.keep):
            FactorCache.current().delete_unused(use_of_factors(now, rules.keep))


def _emit(model: str, version: int, tags: Mapping[str, str]) -> None:
    """Emit the Prefect event plumbline.model.promoted or .kept, with the version's tags."""
    resource = {"prefect.resource.id": f"plumbline.model.{model}", "prefect.resource.name": model}
    emit_event(
        f"plumbline.model.{tags['decision']}", resource, payload={**tags, "version": version}
    )


def _rescored(version: ModelVersion | None, result: Result) -> Champion | None:
    """The champion with its scores on the new held-out rows, or if damaged, its recorded scores.

    Raises:
        StoreError: it cannot be downloaded now, so no decision is possible.
    """
    if version is None:
        return None
    number = int(version.version)
    try:
        uri, where = f"models:/{version.name}/{number}", f"the champion of '{version.name}'"
        stored = load_version(uri, where)
        scores = score(stored, result.data)
        if changed := stored.other_split(result.config):
            note(
                f"version {number} was trained on some of the rows that are held out now "
                f"({changed}), so its scores flatter it; run with its split for a fair comparison"
            )
        return Champion(number, scores)
    except DamagedModelError as error:
        recorded = {name: float(value) for name, value in scores_of(version).items()}
        return Champion(number, recorded, error.reason, damaged=True)
    except NotComparableError as error:
        return Champion(number, problem=str(error))


def _new_metrics(model_uri: str, result: Result) -> dict[str, float]:
    """The run's metrics, with the stored model's own scores on the held-out rows, if these can be
    read again."""
    with suppress(NotComparableError):
        return result.metrics | score(load_stored(model_uri), result.data)
    return result.metrics


def _baseline(result: Result) -> dict[str, float]:
    """The scores of predicting the mean of the training rows, or the shares of their classes."""
    data = result.data
    if data.encoding.log_target:
        rmse = result.metrics["mean_test_rmse"]
        return {"test_rmse": rmse, "test_mse": rmse**2}
    if not data.encoding.classes:
        return held_out_scores(mean_model(data.summary), data.summary)
    named = {name: f"majority_{name}" for name in COMPARABLE}
    return {n: result.metrics[key] for n, key in named.items() if key in result.metrics}


def _print_decision(
    decision: Decision, model: RegisteredModel, version: int, champion: Champion | None
) -> None:
    """Print the decision in one line, and what is unusual about the champion."""
    if champion and not model.champion:
        note(
            f"'{model.name}' had no champion, because its alias or version was deleted by hand; "
            f"the new version was compared with version {champion.version}, the last champion"
        )
    if decision.promoted:
        message = f"Promoted version {version} of '{model.name}'"
    elif model.champion:
        live = model.champion.version
        message = f"Kept the champion (version {live}) of '{model.name}' over version {version}"
    else:
        message = f"Registered version {version} of '{model.name}', which has no champion"
    print(f"{message}: {decision.reason}.", flush=True)
    if champion and champion.damaged and not decision.promoted:
        print(
            f"WARNING: version {champion.version} cannot be loaded. Restore its files from a "
            f"backup, or choose another version from make history MODEL='{model.name}': "
            f"make rollback MODEL='{model.name}' TO=version",
            flush=True,
        )


def _origin(run: Run, config: Config, data: Dataset) -> dict[str, str]:
    """Tags of a version: its data, configuration, run and target."""
    sections = (config.data, config.model, config.training)
    # a key that a later version adds leaves the digest as it is
    parts = [each.model_dump(exclude_defaults=True) for each in sections]
    if config.model.kind == "python":
        parts.append(run.client.get_run(run.id).data.tags.get(MODEL_FILE_DIGEST, ""))
    payload = json.dumps(parts, sort_keys=True, default=str)
    return {
        "data_digest": data.summary.digest,
        "config_digest": hashlib.sha256(payload.encode()).hexdigest()[:16],
        "run_id": run.id,
        "target": data.summary.columns[-1],
    }


def _blocked(model: RegisteredModel, tags: Mapping[str, str]) -> str:
    """Why a model of this data and configuration may not become the champion; "" if it may."""
    rollback = blocked(model.promotions).get(fingerprint(tags))
    if rollback is None:
        return ""
    day = datetime.fromtimestamp(rollback.at / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"version {rollback.before}, of the same data and configuration, was rolled back on {day} "
        f"by {rollback.who}; only other data or another configuration can be promoted"
    )


def _decision_tags(
    decision: Decision,
    metric: str,
    new: Mapping[str, float],
    baseline: Mapping[str, float],
    champion: Champion | None,
) -> dict[str, str]:
    """The decision and all that it is based on, as tags."""
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
        ("majority_" if "test_log_loss" in baseline else "mean_", baseline),
        ("champion_", champion.scores if champion else {}),
    ):
        tags |= {f"{prefix}{name}": repr(scores[name]) for name in COMPARABLE if name in scores}
    return tags
