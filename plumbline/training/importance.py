"""Permutation importance: how much worse a model gets if a column no longer tells anything.

Breiman 2001, Random Forests, section 10; Fisher, Rudin and Dominici 2019, All Models are Wrong, but
Many are Useful, section 3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from plumbline.data.encoding import Encoding, missing_indicator, names_of
from plumbline.linear.dataset import Dataset
from plumbline.linear.factor import EPS
from plumbline.linear.sample import SAMPLE_ROWS
from plumbline.training.prediction import outputs_of

REPEATS = 5  # permutations of a column
MOST_PREDICTED = 200_000  # rows in all, but SAMPLE_ROWS a permutation at least


@dataclass(frozen=True)
class Importance:
    """What permuting each raw column does to a model's score on held-out rows.

    Attributes:
        metric: test_rmse in the target's units, or test_log_loss if it has classes.
        score: of the rows as they are.
        rows: how many held-out rows it is measured on, a uniform sample if there are more.
        repeats: how often each column is permuted.
        columns: of each column the rise of the score, "mean" and "std" (of a sample, ddof 0) over
            the repeats; the most important first. The mean of a column that tells nothing is about
            0, and may be below.
    """

    metric: str
    score: float
    rows: int
    repeats: int
    columns: dict[str, dict[str, float]]


def features_of_columns(encoding: Encoding) -> dict[str, list[str]]:
    """The features of each raw column; none for a column with a single level."""
    of: dict[str, list[str]] = {name: [] for name in (*encoding.numbers, *encoding.dates)}
    for name in encoding.numeric:
        indicator = [missing_indicator(name)] if name in encoding.holes else []
        of[encoding.origin.get(name, name)] += [name, *indicator]
    return of | {c: names_of({c: found[1:]}) for c, found in encoding.levels.items()}


@torch.no_grad()
def permutation_importance(module: nn.Module, data: Dataset, seed: int) -> Importance | None:
    """Measure the importance of each column on the held-out rows that the pass kept.

    All features that come of one raw column, such as the indicators of its levels, are permuted
    together. Rows count by their weights, and class weights.

    Args:
        module: raw features, (n, d), to (n, 1), or to logits, (n, K).
        data: with held-out rows; None is returned if there are none.
        seed: of the permutations.
    """
    columns = {name: of for name, of in features_of_columns(data.encoding).items() if of}
    most = max(SAMPLE_ROWS, MOST_PREDICTED // (REPEATS * len(columns)))
    features = data.summary.sample.rows[:most, :-1]
    if not data.summary.test.rows or not len(features):
        return None
    score, random = _score(data, most), torch.Generator().manual_seed(seed)
    whole, rises = score(outputs_of(module, features)), {}
    for name, of in columns.items():
        places = [data.encoding.features.index(each) for each in of]
        found = torch.empty(REPEATS, dtype=torch.float64)
        for repeat in range(REPEATS):
            permuted = features.clone()
            order = torch.randperm(len(features), generator=random)
            permuted[:, places] = features[order][:, places]
            found[repeat] = score(outputs_of(module, permuted)) - whole
        rises[name] = {"mean": float(found.mean()), "std": float(found.std(correction=0))}
    ranked = dict(sorted(rises.items(), key=lambda each: -each[1]["mean"]))
    metric = "test_log_loss" if data.encoding.classes else "test_rmse"
    return Importance(metric, whole, len(features), REPEATS, ranked)


def _score(data: Dataset, most: int) -> Callable[[Tensor], float]:
    """The score of a model's outputs for the first rows of the sample."""
    weights = data.summary.sample.weights[:most]
    if not data.encoding.classes:
        target = data.in_own_units(data.summary.sample.rows[:most, -1])
        share = weights / weights.sum()
        return lambda outputs: float((share @ (outputs[:, 0] - target).square()).sqrt())
    observed = data.observed_classes[:most]
    if data.balanced:
        of_class = [data.class_weights[name] for name in data.encoding.classes]
        weights = weights * torch.tensor(of_class, dtype=torch.float64)[observed]
    share = weights / weights.sum()
    most_lost = -math.log(EPS)  # of a row: scikit-learn's log_loss clips probabilities at EPS

    def log_loss(outputs: Tensor) -> float:
        losses = cross_entropy(outputs, observed, reduction="none")
        return float(share @ losses.clamp(max=most_lost))

    return log_loss
