"""The table of metrics: what each is called, which direction is better, and what it needs.

The schema, the gate, sweeps, comparisons and descriptions are made from this table. It imports
nothing, so that the schema stays fast.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric of a run.

    Attributes:
        name: its key in MLflow.
        better: which direction is better; None for what only describes.
        unit: "target", "target squared", or "" for a pure number.
        needs: the key of `data` that must be above 0 for it: test_fraction or folds; "": none.
        every_epoch: whether it is a curve; the others are measured once, of the trained model.
    """

    name: str
    better: Literal["lower", "higher"] | None
    unit: Literal["", "target", "target squared"] = ""
    needs: Literal["", "test_fraction", "folds"] = ""
    every_epoch: bool = False


def _scores(share: str, needs: Literal["", "test_fraction"]) -> list[Metric]:
    return [
        Metric(f"{share}_mse", "lower", "target squared", needs),
        Metric(f"{share}_rmse", "lower", "target", needs),
        Metric(f"{share}_r2", "higher", "", needs),
    ]


METRICS = {
    metric.name: metric
    for metric in (
        *_scores("train", ""),
        *_scores("test", "test_fraction"),
        Metric("mae", "lower", "target"),
        Metric("optimal_mse", "lower", "target squared"),
        Metric("optimality_gap", "lower", "target squared"),
        Metric("condition_number", None),
        Metric("linear_cv_rmse_mean", "lower", "target", "folds"),
        Metric("linear_cv_rmse_std", None, "target", "folds"),
        Metric("largest_stable_learning_rate", None),
        Metric("loss", "lower", every_epoch=True),
    )
}
# What a trained model has.
SCORES = tuple(name for name, metric in METRICS.items() if not metric.every_epoch)
# Of two runs, or of a run in one line: the first of these that there is.
HEADLINES = ("test_rmse", "train_rmse", "loss")


def better(name: str) -> Literal["lower", "higher"] | None:
    """Which direction of a metric is better; None if neither is, or if it is not in the table."""
    return METRICS[name].better if name in METRICS else None
