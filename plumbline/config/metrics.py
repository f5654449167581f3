"""The table of metrics: their names, which direction is better, and what they need.

The schema, the gate, sweeps, comparisons and descriptions use this table. It imports nothing from
the project, so that the schema stays fast to import.
"""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """One metric of a run.

    Attributes:
        name: its key in MLflow.
        better: which direction is better; None if the metric is only descriptive.
        unit: "target", "target squared", or "" for a pure number.
        share: the rows it is measured on, "train" or "test"; "": not one of these alone.
        needs: the key of `data` that must be above 0: test_fraction or folds; "": none.
        every_epoch: whether it is logged every epoch; other metrics are measured once, after
            training.
        target: "number" or "classes" if it exists only for such a target; "": for both.
    """

    name: str
    better: Literal["lower", "higher"] | None
    unit: Literal["", "target", "target squared"] = ""
    share: Literal["", "train", "test"] = ""
    needs: Literal["", "test_fraction", "folds"] = ""
    every_epoch: bool = False
    target: Literal["", "number", "classes"] = ""


def _of_share(share: Literal["train", "test"]) -> list[Metric]:
    needs: Literal["", "test_fraction"] = "test_fraction" if share == "test" else ""
    return [
        Metric(f"{share}_rmse", "lower", "target", share, needs, target="number"),
        Metric(f"{share}_mse", "lower", "target squared", share, needs, target="number"),
        Metric(f"{share}_r2", "higher", "", share, needs, target="number"),
        Metric(f"{share}_mae", "lower", "target", share, needs, target="number"),
        Metric(f"{share}_log_loss", "lower", "", share, needs, target="classes"),
        Metric(f"{share}_accuracy", "higher", "", share, needs, target="classes"),
        Metric(f"{share}_f1", "higher", "", share, needs, target="classes"),
    ]


METRICS = {
    metric.name: metric
    for metric in (
        *_of_share("train"),
        *_of_share("test"),
        Metric("test_roc_auc", "higher", "", "test", "test_fraction", target="classes"),
        Metric("majority_test_log_loss", None, needs="test_fraction", target="classes"),
        Metric("majority_test_accuracy", None, needs="test_fraction", target="classes"),
        Metric("linear_test_log_loss", None, needs="test_fraction", target="classes"),
        Metric("optimal_mse", "lower", "target squared", target="number"),
        Metric("optimality_gap", "lower", "target squared", target="number"),
        Metric("condition_number", None, target="number"),
        Metric("mean_test_rmse", None, "target", needs="test_fraction", target="number"),
        Metric("linear_test_rmse", None, "target", needs="test_fraction", target="number"),
        Metric("gain_over_linear", "higher", needs="test_fraction"),
        Metric("best_epoch", None),
        Metric("exact_head_kept", None),
        Metric("linear_cv_rmse_mean", "lower", "target", needs="folds", target="number"),
        Metric("linear_cv_rmse_std", None, "target", needs="folds", target="number"),
        Metric("largest_stable_learning_rate", None, target="number"),
        Metric("penalty_strength", None, target="number"),
        Metric("interval_half_width", None, "target", needs="test_fraction", target="number"),
        Metric("loss", "lower", every_epoch=True),
        Metric("validation_loss", "lower", every_epoch=True),
        Metric("learning_rate", None, every_epoch=True),
    )
}
# Metrics of a trained model, measured once.
SCORES = tuple(name for name, metric in METRICS.items() if not metric.every_epoch)
# Metrics of the data, which are the same whatever is trained on it.
OF_DATA = tuple(
    n for n in METRICS if n.startswith(("linear_", "mean_", "majority_", "optimal_mse"))
)
# Metrics that compare two models on rows that neither was trained on.
COMPARABLE = tuple(name for name, metric in METRICS.items() if metric.share == "test")
# To compare two runs, or to show a run in one line: the first of these that it has.
HEADLINES = ("test_rmse", "test_log_loss", "train_rmse", "train_log_loss", "loss")
# Shown in a run's description and in the first columns of MLflow's table of runs.
SUMMARY = (
    "test_rmse", "train_rmse", "test_accuracy", "test_log_loss", "train_log_loss",
    "gain_over_linear", "optimality_gap",
)  # fmt: skip
# Former names that configurations, model versions and runs may still use, with the current ones.
RENAMED = {"mae": "test_mae"}
# Former names that are refused, and what to write instead.
REFUSED = {
    f"cv_rmse_{part}": f"linear_cv_rmse_{part} (its name now, because it is the cross-validation "
    "of the exact unpenalised fit, whatever was trained)"
    for part in ("mean", "std")
}


def current_name(name: Any) -> Any:
    """The current name of a metric; anything else is returned unchanged."""
    return RENAMED.get(name, name) if isinstance(name, str) else name


def better(name: str) -> Literal["lower", "higher"] | None:
    """The better direction of a metric; None if it has none or is not in the table."""
    known = METRICS.get(current_name(name))
    return known.better if known else None


def unknown_because(name: str, test_fraction: float | str, folds: int) -> str:
    """Why a metric cannot be measured with this split of the data; empty if it can be."""
    needed = METRICS[name].needs
    given = {"": True, "test_fraction": test_fraction, "folds": folds}[needed]
    return "" if given else f"data.{needed} is 0"
