"""Score a stored model on today's data, whose features may differ from the model's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from plumbline.data.encoding import MISSING, OTHER, Encoding, missing_indicator
from plumbline.linear.dataset import Dataset, level_counts
from plumbline.training.evaluation import held_out_scores, scores
from plumbline.training.model import LinearModel
from plumbline.training.stored import StoredModel


class NotComparableError(ValueError):
    """A stored model cannot predict today's held-out rows; the message says why."""


def score(stored: StoredModel, data: Dataset) -> dict[str, float]:
    """The metrics of evaluation.scores on the held-out rows of today's data, by name.

    A linear model is scored from R (mae from the sample). Other models are scored on every
    held-out row, which means reading them again; so is a linear model if R cannot stand in for
    the rows: its target is the logarithm, it lacks an indicator for missing values that the
    model has, or the model's "(other)" groups other levels. Empty if no row is held out.

    Raises:
        NotComparableError: the target differs, a column is gone or of another kind, or a
            held-out row has a level or a class that the model was not trained on.
    """
    _check(stored, data)
    in_r = {*stored.encoding.holes} <= {*data.encoding.holes} and not data.encoding.log_target
    chosen, today = _chosen_levels(stored.encoding), data.encoding.levels
    in_r = in_r and all({*known} == {*today[name]} for name, known in chosen.items())
    if isinstance(stored.module, LinearModel) and in_r:
        return held_out_scores(
            _line_in(stored.module, stored.encoding, data.encoding), data.summary
        )
    # so that missing values and other levels are encoded as in its training
    changes: dict[str, Any] = {}
    if stored.encoding.means and data.encoding.means:
        changes["means"] = stored.encoding.means
    if chosen:
        changes["categorical"] = data.table.columns.categorical | chosen
    if changes:
        data = replace(data, source=data.table.with_columns(**changes))
    model, classes = stored.module, stored.encoding.classes
    if classes:
        model = MatchedClasses(model, classes, data.encoding.classes)
    return scores("test", model, data, stored.encoding.features)


def _chosen_levels(encoding: Encoding) -> dict[str, tuple[str, ...]]:
    """The levels of each column that has "(other)"."""
    return {name: known for name, known in encoding.levels.items() if OTHER in known}


def _line_in(line: LinearModel, known: Encoding, encoding: Encoding) -> LinearModel:
    """A linear model expressed in the features of another encoding.

    A column that the model does not know gets weight 0. If the reference level differs, the
    effect of today's reference level moves into the intercept. If a missing number is filled
    with another mean, the difference moves into the weight of its indicator.
    """
    weight = dict(zip(known.features, line.weights.tolist(), strict=True))
    found = {name: weight.get(name, 0.0) for name in encoding.numeric}
    for name in encoding.holes:
        mean = encoding.means[name]
        off = known.means.get(name, mean) - mean
        indicator = missing_indicator(name)
        found[indicator] = weight.get(indicator, 0.0) + off * found[name]
    intercept = line.intercept
    for column, levels in encoding.levels.items():
        if column not in known.levels:
            continue
        first, *others = [weight.get(f"{column}={level}", 0.0) for level in levels]
        intercept += first
        names = [f"{column}={level}" for level in levels[1:]]
        found |= {n: value - first for n, value in zip(names, others, strict=True)}
    weights = [found.get(name, 0.0) for name in encoding.features]
    return LinearModel(intercept, torch.tensor(weights, dtype=torch.float64))


def _check(stored: StoredModel, data: Dataset) -> None:
    """Raise NotComparableError if the model cannot predict the held-out rows."""
    target, encoding = data.summary.columns[-1], data.encoding
    if stored.target not in ("", target):
        raise NotComparableError(f"it predicts '{stored.target}', the data's target is '{target}'")
    if bool(stored.encoding.classes) != bool(encoding.classes):
        mine, theirs = (
            ("classes", "a number") if stored.encoding.classes else ("numbers", "classes")
        )
        raise NotComparableError(f"it predicts {mine}, the data's target is {theirs}")
    for kind, known, there in (
        ("numeric", stored.encoding.numeric, encoding.numeric),
        ("categorical", stored.encoding.levels, encoding.levels),
    ):
        gone = [name for name in known if name not in there]
        if gone:
            raise NotComparableError(f"today's data has no {kind} feature '{gone[0]}'")
    missing = () if stored.encoding.means else encoding.holes
    for column in (name for name in stored.encoding.numeric if name in missing):
        if level_counts(column, ("", MISSING), data.summary.test)[MISSING]:
            raise NotComparableError(
                f"held-out rows have no value in column '{column}', and the model fills in none"
            )
    for column in stored.encoding.levels:
        counts = level_counts(column, encoding.levels[column], data.summary.test)
        if column in _chosen_levels(stored.encoding):
            counts = {MISSING: counts.get(MISSING, 0.0)}
        _check_met(column, stored.encoding.levels[column], counts)
    if encoding.classes:
        _check_met(target, stored.encoding.classes, data.class_counts(data.profiled.test))


class MatchedClasses(nn.Module):
    """A module that reorders a model's logits: the wanted classes, then the others that it knows.

    A wanted class that the model does not know has probability 0; the classes that only the model
    knows keep theirs.
    """

    def __init__(self, model: nn.Module, known: Sequence[str], wanted: Sequence[str]) -> None:
        super().__init__()
        names = [*wanted, *(name for name in known if name not in wanted)]
        place = {name: i for i, name in enumerate(known)}
        self.model, self.places = model, [place.get(name, len(known)) for name in names]

    def forward(self, features: Tensor) -> Tensor:
        """Map the model's features (n, d) to logits (n, number of wanted and other classes)."""
        logits = self.model(features)
        unknown = torch.full((len(logits), 1), -torch.inf, dtype=logits.dtype)
        return torch.cat([logits, unknown], dim=1)[:, self.places]


def _check_met(column: str, known: Sequence[str], counts: Mapping[str, float]) -> None:
    new = [name for name, rows in counts.items() if name not in known and rows]
    if new:
        raise NotComparableError(
            f"held-out rows have '{new[0]}' in column '{column}', which it was not trained on"
        )
