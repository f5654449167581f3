"""A sweep: one base experiment, and what varies from trial to trial."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from plumbline.config.loading import put, validated
from plumbline.config.metrics import METRICS, better, current_name
from plumbline.config.reference import known_keys, options
from plumbline.config.running import RunsOn
from plumbline.config.schema import Config
from plumbline.config.section import Count, Name, NotEmpty, Section, Seed, disagreement
from plumbline.errors import InputError, refuse

Values = Mapping[str, Any]
SHORT = {"learning_rate": "lr"}


class Range(Section):
    """All values between two."""

    low: float | int = Field(description="the least value")
    high: float | int = Field(description="the largest value")
    log: bool = Field(False, description="evenly spread orders of magnitude, not values")
    count: Annotated[int, Field(ge=2)] = Field(
        5, description="how many values a grid takes of it, ends included"
    )

    @model_validator(mode="after")
    def _agrees(self) -> "Range":
        if self.low >= self.high:
            raise disagreement("low", "less than high", f"{self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise disagreement("low", "> 0 where log is true", self.low)
        return self

    def values(self, whole: bool) -> Sequence[float]:
        """The values that a grid takes: count of them, evenly spread."""
        spread = np.geomspace if self.log else np.linspace
        between = spread(self.low, self.high, self.count)
        found = [float(f"{value:.12g}") for value in between]  # 0.1, not 0.10000000000000002
        return list(dict.fromkeys(map(round, found))) if whole else found


class Search(Section):
    """The sweep's own section: what varies, how it is searched and what is best."""

    method: Literal["grid", "random", "tpe"] = Field(
        "grid", description="every combination, random ones, or Optuna's tree of Parzen estimators"
    )
    trials: Count = Field(20, description="how many; a grid has as many as its combinations")
    metric: Annotated[Name, BeforeValidator(current_name)] = Field(
        "auto",
        description="what the best trial is best in; auto: train_mse, of classes test_log_loss, or "
        "train_log_loss if no rows are held out",
    )
    direction: Literal["minimize", "maximize"] | None = Field(
        None, description="what is better; null: what is better in the metric"
    )
    parameters: Annotated[dict[Name, Range | NotEmpty[Any]], Field(min_length=1)] = Field(
        description="dotted key to a list of values, or to a range {low, high, log, count}"
    )
    pruner: Literal["none", "median"] = Field(
        "none",
        description="median: Optuna's, which ends a trial whose validation loss is worse than the "
        "median of earlier ones after as many epochs",
    )
    keep_models: Literal["best", "all"] = Field("best", description="whose models are kept")
    seed: Seed = Field(42, description="seed of random and tpe")


class Sweep(Section):
    """A base experiment and what varies.

    Attributes:
        name: the file's, without its ending.
        base: the base experiment as a mapping, checked when a trial's values are in it.
        search: what varies.
    """

    name: Name
    base: dict[str, Any]
    search: Search

    def trial(self, values: Values) -> Config:
        """The experiment with these values in it. Raises InputError where they do not fit."""
        raw = deepcopy(self.base)
        for key, value in values.items():
            put(raw, key, value)
        return validated(raw, "this combination")

    def first(self) -> Config:
        """The experiment of the first combination whose values go together."""
        for values in self.grid():
            with suppress(InputError):
                return self.trial(values)
        return self.trial({})

    def of_target(self, classes: bool) -> "Sweep":
        """The same sweep with its metric and direction, once the target's type is known.

        Raises:
            InputError: the metric is not measured of such a target.
        """
        metric = self.search.metric
        if metric == "auto":
            share = "test" if self.first().data.test_fraction else "train"
            metric = f"{share}_log_loss" if classes else "train_mse"
        if METRICS[metric].target == ("number" if classes else "classes"):
            what = "has classes" if classes else "is a number"
            raise refuse("sweep.metric", f"auto, or one that suits a target that {what}", metric)
        usual = "maximize" if better(metric) == "higher" else "minimize"
        decided = {"metric": metric, "direction": self.search.direction or usual}
        return self.model_copy(update={"search": self.search.model_copy(update=decided)})

    @property
    def runs_on(self) -> RunsOn:
        """Where its trials run, all alike. Raises InputError where the base's keys are wrong."""
        raw = {key: self.base[key] for key in RunsOn.model_fields if key in self.base}
        return validated(raw, self.name, RunsOn)

    @property
    def title(self) -> str:
        """What the parent run is called, such as `sweep: lr, optimizer`."""
        return f"{self.name}: {', '.join(short_names(list(self.search.parameters)))}"

    @property
    def trials(self) -> int:
        """How many there will be."""
        return len(list(self.grid())) if self.search.method == "grid" else self.search.trials

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination, the last parameter varying fastest; ranges at `count` values."""
        spread = [
            given.values(is_whole(key)) if isinstance(given, Range) else given
            for key, given in self.search.parameters.items()
        ]
        for combination in itertools.product(*spread):
            yield dict(zip(self.search.parameters, combination, strict=True))

    @property
    def varied_features(self) -> list[str] | None:
        """Every feature that some trial asks for; None if one asks for all, or none varies."""
        given = self.search.parameters.get("data.features")
        if not isinstance(given, list) or not all(isinstance(value, list) for value in given):
            return None
        return list(dict.fromkeys(itertools.chain.from_iterable(given)))


def takes_numbers(key: str) -> bool:
    """Whether a key takes a number."""
    return bool({"integer", "number"} & _types(key))


def is_whole(key: str) -> bool:
    """Whether the numbers that a key takes are integers."""
    return "number" not in _types(key)


def _types(key: str) -> set[str]:
    """The JSON types that a key takes; the elements of a list are none of them."""
    return {option["type"] for node in known_keys(Config).get(key, ()) for option in options(node)}


def label(values: Values) -> str:
    """A trial's name: what varies and how, such as `lr=0.01 optimizer=adam`."""
    names = short_names(list(values))
    return " ".join(f"{n}={_text(v)}" for n, v in zip(names, values.values(), strict=True))


def short_names(keys: list[str]) -> list[str]:
    """Each key's last part; the whole key where two end alike."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return [
        SHORT.get(last, last) if lasts.count(last) == 1 else key
        for key, last in zip(keys, lasts, strict=True)
    ]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
