"""A sweep: one base experiment, and the keys that vary from trial to trial."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from plumbline.config import metrics
from plumbline.config.loading import apply, hint, known_paths, put, read_yaml, validated
from plumbline.config.reference import is_whole, known_keys, number_types
from plumbline.config.running import RunsOn
from plumbline.config.schema import Config
from plumbline.config.section import Count, Name, NotEmpty, Section, Seed
from plumbline.errors import InputError, must_be, nearest, refuse

Values = Mapping[str, Any]
SHORT = {"learning_rate": "lr"}
OPTIONS = "model.options."  # the rest of such a key is an argument of the user's build
# Keys that change what the loss measures: trials that differ in them cannot be compared by it.
DECIDE_LOSS = {"training.loss", "training.quantile"} | {
    f"data.{key}" for key in ("target", "log_target", "weight", "class_weight")
}
DECIDE_FIT = "data.", "training.bias"  # the beginnings of keys that change metrics of the data
MOST_CHECKED = 2_000  # combinations that are checked before the first trial


class Range(Section):
    """All values from low to high."""

    low: float | int
    """the smallest value"""

    high: float | int
    """the largest value"""

    log: bool = False
    """spread values evenly on a logarithmic scale"""

    count: Annotated[int, Field(ge=2)] = 5
    """number of values that a grid takes, both ends included"""

    def values(self, whole: bool) -> Sequence[float]:
        """The values that a grid takes: `count`, evenly spread, fewer if whole ones coincide."""
        spread = np.geomspace if self.log else np.linspace
        between = spread(self.low, self.high, self.count)
        found = [float(f"{value:.12g}") for value in between]  # 0.1, not 0.10000000000000002
        return list(dict.fromkeys(map(round, found))) if whole else found


class Search(Section):
    """The section `sweep`: which keys vary, how they are searched, and which trial is best."""

    method: Literal["grid", "random", "tpe"] = "grid"
    """every combination, random ones, or Optuna's tree of Parzen estimators"""

    trials: Count = 20
    """trials of random and tpe; grid tries all combinations"""

    metric: Annotated[Name, BeforeValidator(metrics.current_name)] = "auto"
    """the metric that decides the best trial; auto: train_mse, or for classes test_log_loss, or
    train_log_loss if no rows are held out"""

    direction: Literal["minimize", "maximize"] | None = None
    """direction of the metric; null: the metric's usual one"""

    parameters: Annotated[dict[Name, Range | NotEmpty[Any]], Field(min_length=1)]
    """dotted key to a list of values, or to a range {low, high, log, count}"""

    pruner: Literal["none", "median"] = "none"
    """median: Optuna's median pruner, which ends a trial whose validation loss is worse than the
    median of earlier trials at the same epoch"""

    keep_models: Literal["best", "all"] = "best"
    """trials whose models are kept"""

    seed: Seed = 42
    """seed of random and tpe"""

    @model_validator(mode="after")
    def _agrees(self) -> "Search":
        for key, given in self.parameters.items():
            low = f"sweep.parameters.{key}.low"
            if isinstance(given, Range) and given.low >= given.high:
                raise must_be(low, "less than high", f"{given.low} and {given.high}")
            if isinstance(given, Range) and given.log and given.low <= 0:
                raise must_be(low, "> 0 if log is true", given.low)
        return self


class SweepFile(Section):
    """A sweep's file without the keys of the base experiment."""

    sweep: Search


class Sweep(Section):
    """A base experiment and the search over it.

    Attributes:
        name: the name of the file without its extension.
        base: the base experiment as a mapping, checked once a trial's values are in it.
        search: the section `sweep`.
    """

    name: Name
    base: dict[str, Any]
    search: Search

    def trial(self, values: Values) -> Config:
        """The experiment with a trial's values. Raises InputError if they are not valid in it."""
        raw = deepcopy(self.base)
        for key, value in values.items():
            put(raw, key, deepcopy(value))  # the key of another may be in it
        return validated(raw, "this combination")

    def first(self) -> Config:
        """The experiment of the first valid combination; of the base alone if there is none."""
        for values in self.grid():
            with suppress(InputError):
                return self.trial(values)
        return self.trial({})

    def of_target(self, classes: bool) -> "Sweep":
        """The same sweep with metric and direction resolved for the target's type.

        Raises:
            InputError: the metric does not exist for such a target.
        """
        metric = self.search.metric
        if metric == "auto":
            share = "test" if self.first().data.test_fraction else "train"
            metric = f"{share}_log_loss" if classes else "train_mse"
        if metrics.METRICS[metric].target == ("number" if classes else "classes"):
            what = "has classes" if classes else "is a number"
            raise refuse("sweep.metric", f"auto, or one that suits a target that {what}", metric)
        usual = "maximize" if metrics.better(metric) == "higher" else "minimize"
        decided = {"metric": metric, "direction": self.search.direction or usual}
        return self.model_copy(update={"search": self.search.model_copy(update=decided)})

    @property
    def title(self) -> str:
        """The name of the parent run, such as `sweep: lr, optimizer`."""
        return f"{self.name}: {', '.join(short_names(list(self.search.parameters)))}"

    @property
    def trials(self) -> int:
        """The number of trials."""
        return len(list(self.grid())) if self.search.method == "grid" else self.search.trials

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yield every combination, the last parameter varying fastest."""
        spread = [
            given.values(is_whole(key)) if isinstance(given, Range) else given
            for key, given in self.search.parameters.items()
        ]
        for combination in itertools.product(*spread):
            yield dict(zip(self.search.parameters, combination, strict=True))

    @property
    def varied_features(self) -> list[str] | None:
        """The features that any trial uses; None if data.features is not varied over lists."""
        given = self.search.parameters.get("data.features")
        if not isinstance(given, list) or not all(isinstance(value, list) for value in given):
            return None
        return list(dict.fromkeys(itertools.chain.from_iterable(given)))


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep.

    The file holds `sweep:` and either `base:`, the path of an experiment relative to this file,
    with keys that replace the base's, or the base experiment's keys themselves.

    Args:
        path: the YAML file.
        overrides: `key=value` strings; `sweep.trials=5` for the sweep, others for the base.

    Raises:
        InputError: a file is not readable, a key or a value is wrong in every trial that has it,
            or no trial has the metric.
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
            f"{path}: sweep is missing. It must be a section that says which keys vary; "
            "to run a single experiment, use make run-pipeline."
        )
    search = validated({"sweep": raw.pop("sweep")}, str(path), SweepFile).sweep
    sweep = Sweep(name=Path(path).stem, base=raw, search=search)
    _check_keys(sweep, path)
    right = _check_values(sweep, path)
    if any(config.training.start != "fresh" for config in right):
        allowed = "fresh in a sweep, because all trials must start alike"
        raise refuse(f"{path}: training.start", allowed, "champion")
    if search.metric != "auto":
        _check_metric(search, right, f"{path}: sweep.metric")
    if search.pruner != "none":
        _check_pruner(sweep, right, path)
    return sweep


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The base with the leaves of another mapping replacing its own."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _check_keys(sweep: Sweep, path: str | Path) -> None:
    if workers := sweep.first().ray.workers:
        raise refuse(f"{path}: ray.workers", "null, since trials train in parallel", workers)
    keys, known, where = known_keys(Config), known_paths(Config), f"{path}: sweep.parameters"
    for key, given in sweep.search.parameters.items():
        if key not in known and not key.startswith(OPTIONS):
            raise InputError(f"{where}: {key} is not a known key.{hint(key, Config)}")
        if key.partition(".")[0] in RunsOn.model_fields:
            raise must_be(f"{where}.{key}", "left out: all trials run in one place", given)
        if "." not in key and key not in keys and key != "model":
            raise must_be(where, f"keys or sections inside {key}", key)
        if isinstance(given, Range) and not number_types(key):
            raise refuse(f"{where}.{key}", "a list of values (a range is for numbers)", "a range")


def _check_values(sweep: Sweep, path: str | Path) -> list[Config]:
    """The valid experiments of some combinations. Raises InputError if a value is in none."""
    given = sweep.search.parameters
    ends = [[g.low, g.high] if isinstance(g, Range) else g for g in given.values()]
    right: list[Config] = []
    seen: set[tuple[str, str]] = set()
    wrong: dict[tuple[str, str], str] = {}
    for combination in itertools.islice(itertools.product(*ends), MOST_CHECKED):
        values = dict(zip(given, combination, strict=True))
        pairs = [(key, json.dumps(value, default=str)) for key, value in values.items()]
        try:
            right.append(sweep.trial(values))
            seen.update(pairs)
        except InputError as error:
            for pair in pairs:
                wrong.setdefault(pair, str(error).removeprefix("this combination: "))
    for (key, value), message in wrong.items():
        if (key, value) not in seen:
            raise InputError(f"{path}: sweep.parameters.{key}: {message}")
    return right


def _check_metric(search: Search, trials: Sequence[Config], where: str) -> None:
    if (metric := search.metric) in metrics.REFUSED:
        raise refuse(where, metrics.REFUSED[metric], metric)
    if metric not in metrics.SCORES:
        close = nearest(metric, metrics.SCORES)
        meant = f"Did you mean {close}?" if close else f"Known: {', '.join(metrics.SCORES)}."
        raise InputError(f"{where} is not a known metric: '{metric}'. {meant}")
    reasons = [metrics.unknown_because(metric, c.data.test_fraction, c.data.folds) for c in trials]
    if all(reasons):
        raise refuse(where, f"another metric while {reasons[0]}", metric)
    if metric in metrics.OF_DATA and not any(k.startswith(DECIDE_FIT) for k in search.parameters):
        raise refuse(where, "of the model unless a data key varies (all trials share it)", metric)


def _check_pruner(sweep: Sweep, trials: Sequence[Config], path: str | Path) -> None:
    if varied := DECIDE_LOSS & sweep.search.parameters.keys():
        allowed = f"none while {min(varied)} varies (it compares the trials' losses)"
        raise refuse(f"{path}: sweep.pruner", allowed, sweep.search.pruner)
    if not all(config.data.validation_fraction for config in trials):
        allowed = "above 0 in every trial with sweep.pruner median (it compares validation losses)"
        raise refuse(f"{path}: data.validation_fraction", allowed, 0)


def label(values: Values) -> str:
    """A trial's name from its varied keys, such as `lr=0.01 optimizer=adam`."""
    names = short_names(list(values))
    return " ".join(f"{n}={_text(v)}" for n, v in zip(names, values.values(), strict=True))


def short_names(keys: list[str]) -> list[str]:
    """The last part of each key, or the whole key if two end alike."""
    lasts = [key.rpartition(".")[2] for key in keys]
    both = zip(keys, lasts, strict=True)
    return [SHORT.get(last, last) if lasts.count(last) == 1 else key for key, last in both]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
