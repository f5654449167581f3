"""Read a sweep from a file, and refuse what is wrong in every trial."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plumbline.config.loading import apply, hint, read_yaml, validated
from plumbline.config.metrics import REFUSED, SCORES, unknown_because
from plumbline.config.reference import known_keys
from plumbline.config.running import RunsOn
from plumbline.config.schema import Config
from plumbline.config.section import Section
from plumbline.config.sweep import Range, Search, Sweep, takes_numbers
from plumbline.errors import InputError, nearest, refuse

OPTIONS = "model.options."  # what follows is for the user's own build
# Keys on which depends what the loss is of: trials that differ in them cannot be compared by it.
DECIDE_LOSS = {"training.loss", "training.quantile"} | {
    f"data.{key}" for key in ("target", "log_target", "weight", "class_weight")
}
MOST_CHECKED = 2_000  # combinations, before the first trial


class SweepFile(Section):
    """A sweep's file, as far as the base experiment's keys are not concerned."""

    sweep: Search


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep.

    The file holds `sweep:` and either `base:`, the path of an experiment relative to this file,
    with keys that replace the base's, or the base experiment's keys themselves.

    Args:
        path: the YAML file.
        overrides: `key=value` strings; `sweep.trials=5` for the sweep, others for the base.

    Raises:
        InputError: a file is not readable, a key or a value is wrong in every trial that has it,
            or the metric is one that no trial has.
    """
    raw = read_yaml(path)
    base = raw.pop("base", None)
    if base is not None:
        if not isinstance(base, str):
            raise refuse(f"{path}: base", "the path of a YAML file, relative to this one", base)
        raw = _merged(read_yaml(Path(path).parent / base), raw)
    for override in overrides:
        apply(raw, override)
    if "sweep" not in raw:
        raise InputError(
            f"{path}: sweep is missing. It must be a section that says what varies; "
            "for a single experiment: make run-pipeline."
        )
    search = validated({"sweep": raw.pop("sweep")}, str(path), SweepFile).sweep
    sweep = Sweep(name=Path(path).stem, base=raw, search=search)
    _check_keys(sweep, path)
    right = _check_values(sweep, path)
    if any(config.training.start != "fresh" for config in right):
        allowed = "fresh in a sweep, whose trials are compared from the same beginning"
        raise refuse(f"{path}: training.start", allowed, "champion")
    _check_metric(sweep, right, path)
    _check_pruner(sweep, right, path)
    return sweep


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The base with another mapping's leaves in place of its own."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _check_keys(sweep: Sweep, path: str | Path) -> None:
    known, where = known_keys(Config), f"{path}: sweep.parameters"
    for key, given in sweep.search.parameters.items():
        if key not in known and not key.startswith(OPTIONS):
            raise InputError(f"{where}: {key} is not a known key.{hint(key, Config)}")
        if key.partition(".")[0] in RunsOn.model_fields:
            raise refuse(f"{where}.{key}", "in the base: all trials run in one place", "it here")
        if isinstance(given, Range) and not takes_numbers(key):
            raise refuse(f"{where}.{key}", "a list of values (a range is for numbers)", "a range")


def _check_values(sweep: Sweep, path: str | Path) -> list[Config]:
    """The experiments of some combinations; each value must be right in one of them at least."""
    given = sweep.search.parameters
    ends = [[g.low, g.high] if isinstance(g, Range) else g for g in given.values()]
    right: list[Config] = []
    seen: set[tuple[str, str]] = set()
    wrong: dict[tuple[str, str], str] = {}
    for combination in itertools.islice(itertools.product(*ends), MOST_CHECKED):
        pairs = [(key, json.dumps(v)) for key, v in zip(given, combination, strict=True)]
        try:
            right.append(sweep.trial(dict(zip(given, combination, strict=True))))
            seen.update(pairs)
        except InputError as error:
            for pair in pairs:
                wrong.setdefault(pair, str(error).removeprefix("this combination: "))
    for (key, value), message in wrong.items():
        if (key, value) not in seen:
            raise InputError(f"{path}: sweep.parameters.{key}: {message}")
    return right


def _check_metric(sweep: Sweep, trials: Sequence[Config], path: str | Path) -> None:
    metric, where = sweep.search.metric, f"{path}: sweep.metric"
    if metric == "auto":
        return
    if metric in REFUSED:
        raise refuse(where, REFUSED[metric], metric)
    if metric not in SCORES:
        close = nearest(metric, SCORES)
        meant = f"Did you mean {close}?" if close else f"Known: {', '.join(SCORES)}."
        raise InputError(f"{where} is not a known metric: '{metric}'. {meant}")
    splits = [(config.data.test_fraction, config.data.folds) for config in trials]
    reasons = [unknown_because(metric, *split) for split in splits]
    if all(reasons):
        raise refuse(where, f"another metric while {reasons[0]}", metric)


def _check_pruner(sweep: Sweep, trials: Sequence[Config], path: str | Path) -> None:
    if sweep.search.pruner == "none":
        return
    if varied := DECIDE_LOSS & sweep.search.parameters.keys():
        allowed = f"none while {min(varied)} varies (it compares the trials' losses)"
        raise refuse(f"{path}: sweep.pruner", allowed, sweep.search.pruner)
    if not all(config.data.validation_fraction for config in trials):
        allowed = "above 0 in every trial with sweep.pruner median (it compares validation losses)"
        raise refuse(f"{path}: data.validation_fraction", allowed, 0)
