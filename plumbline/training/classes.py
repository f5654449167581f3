"""Classes: their scores, and what a model must beat."""

from functools import lru_cache

import numpy as np
import torch
from torch import nn

from plumbline.config.schema import Split
from plumbline.data.blocks import WEIGHT
from plumbline.data.split import share_rows
from plumbline.linear.dataset import Dataset
from plumbline.training.newton import module_of, most_likely

MOST_VALUES = 20  # of a number that may be a name


def class_scores(
    share: str, module: nn.Module, data: Dataset, split: Split, features: tuple[str, ...] = ()
) -> dict[str, float]:
    """A share's accuracy, log_loss, f1 (macro) and, of held-out rows, roc_auc, on every row.

    Args:
        share: "train" or "test".
        module: raw features, (n, d) float64, to logits, (n, K).
        data: where the rows are.
        split: which rows fall into the share.
        features: the module's; default: the data's.

    Returns:
        As scikit-learn defines them; roc_auc of the last of two classes, of more the macro mean of
        one against the rest, and none unless every class is there. Empty without rows.
    """
    from sklearn import metrics  # takes a second, which runs without classes need not wait

    if not getattr(data.summary, share).rows:
        return {}
    p, observed, weights = probabilities(share, module, data, split, features)
    places, predicted = np.arange(p.shape[1]), p.argmax(axis=1)
    scores = {
        "accuracy": metrics.accuracy_score(observed, predicted, sample_weight=weights),
        "log_loss": metrics.log_loss(observed, p, labels=places, sample_weight=weights),
        "f1": metrics.f1_score(
            observed, predicted, average="macro", zero_division=0, sample_weight=weights
        ),
    }
    if share == "test" and len(np.unique(observed)) == len(places):
        ranked = p[:, 1] if len(places) == 2 else p
        scores["roc_auc"] = metrics.roc_auc_score(
            observed, ranked, multi_class="ovr", sample_weight=weights
        )
    return {f"{share}_{name}": float(value) for name, value in scores.items()}


def probabilities(
    share: str, module: nn.Module, data: Dataset, split: Split, features: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a model gives each class, (n, K), each row's class, (n,), and its weight, (n,)."""
    features = features or data.encoding.features
    found = []
    for rows in share_rows(data.source, split, (share,), (*features, *data.outputs, WEIGHT)):
        given, indicators, weights = rows.tensor_split([len(features), -1], dim=1)
        with torch.no_grad():
            p = module(given).double().softmax(dim=1)
        found.append((p, indicators.argmax(dim=1), weights[:, 0]))
    return tuple(torch.cat(each).numpy() for each in zip(*found, strict=True))


@lru_cache(2)
def class_baselines(data: Dataset, split: Split, memory_mb: float) -> dict[str, float]:
    """What a model must beat on the held-out rows: the shares of the classes, and the logistic fit.

    Both are fitted on every row that is not held out for testing.

    Returns:
        majority_test_log_loss, majority_test_accuracy and linear_test_log_loss; empty if no row is
        held out.
    """
    if not data.summary.test.rows:
        return {}
    fitted, held_out = data.profiled.train_and_validation, data.profiled.test
    known, tested = (np.array([*data.class_counts(f).values()]) for f in (fitted, held_out))
    log_shares = np.log(known / known.sum())
    linear = module_of(most_likely(data, split, memory_mb, validation=True))
    return {
        "majority_test_log_loss": float(-(tested * log_shares).sum() / tested.sum()),
        "majority_test_accuracy": float(tested[known.argmax()] / tested.sum()),
        "linear_test_log_loss": class_scores("test", linear, data, split)["test_log_loss"],
    }


def largest_class(data: Dataset) -> dict[str, float]:
    """How often the class with the most training rows is right, by share; empty for numbers."""
    if not data.encoding.classes:
        return {}
    shares = {name: getattr(data.profiled, name) for name in ("train", "test")}
    counts = {name: data.class_counts(factor) for name, factor in shares.items() if factor.rows}
    largest = max(counts["train"], key=counts["train"].get)
    return {name: of[largest] / sum(of.values()) for name, of in counts.items()}


def few_values(data: Dataset) -> int:
    """How many values a target of numbers has if they may be names: at most 20 whole numbers, each
    in more than ten of the sample's rows on average; otherwise 0."""
    target = data.summary.sample.rows[:, -1]
    values = target.unique()
    few = len(values) <= MOST_VALUES and len(target) > 10 * len(values)
    whole = bool((values == values.round()).all())
    return len(values) if few and whole and not data.encoding.classes else 0
