"""Decide whether a new model becomes champion, from its metrics and the champion's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from plumbline.config.metrics import better
from plumbline.config.running import Registry

Scores = Mapping[str, float]
ROUNDING = 1e-5  # relative: scores that differ by less count as equal
# The score in which a model must beat a baseline: what the baseline predicts, the score shown.
BASELINES = {
    "test_mse": ("the mean of the training rows", "test_rmse"),
    "test_log_loss": ("the classes' shares of the training rows", "test_log_loss"),
}


@dataclass(frozen=True)
class Champion:
    """The current champion, scored on today's held-out rows.

    Attributes:
        version: its version number.
        scores: its evaluation.held_out_scores; if it is damaged, the scores recorded when it was
            registered; empty if it cannot be compared.
        problem: why it could not be scored today; empty if it could.
        damaged: whether the problem is that its files are unreadable.
    """

    version: int
    scores: Scores = field(default_factory=dict)
    problem: str = ""
    damaged: bool = False


@dataclass(frozen=True)
class Decision:
    """The decision about a new model.

    Attributes:
        promoted: whether the model becomes champion.
        reason: one sentence.
        margin: how much better it is than the champion, as a share of the champion's value
            (negative if it is worse); None if they were not compared.
    """

    promoted: bool
    reason: str
    margin: float | None = None


def decide(
    rules: Registry, metrics: Scores, baseline: Scores, champion: Champion | None, blocked: str = ""
) -> Decision:
    """Apply the rules, the cheapest first; the first that fails gives the reason.

    Args:
        rules: the configuration section `registry`, with its metric resolved.
        metrics: of the new model, including those on held-out rows if there are any.
        baseline: scores of predicting the mean of the training rows, or the shares of the classes.
        champion: None if there is none; the first model only has to meet the thresholds.
        blocked: why this model may not become champion (a version trained on the same data and
            configuration was rolled back); empty if it may.
    """
    if failed := _beyond_limits(rules, metrics) or blocked:
        return Decision(False, failed)
    score = next((name for name in BASELINES if name in metrics), None)
    if baseline and score is None:
        return Decision(False, "its predictions for held-out rows are infinite")
    if champion is None:
        return Decision(True, "no champion yet; all thresholds are met")
    if score is None:
        return Decision(False, "no row is held out in today's data, so nothing can be compared")
    if not metrics[score] < baseline[score] or _equal(metrics[score], baseline[score]):
        what, shown = BASELINES[score]
        return Decision(
            False,
            f"it is no better than predicting {what} ({shown} {metrics[shown]:.6g} against "
            f"{baseline[shown]:.6g})",
        )
    if champion.damaged:
        return _against_recorded(champion, rules, metrics)
    return _against(champion, rules, metrics)


def improvement(metric: str, new: float, old: float) -> float:
    """How much better new is than old, as a share of |old|: 0.1 is 10 % better, -0.1 worse.

    Any change from 0 is infinite.
    """
    gain = new - old if better(metric) == "higher" else old - new
    if gain == 0:
        return 0.0
    return gain / abs(old) if old else math.copysign(math.inf, gain)


def _beyond_limits(rules: Registry, metrics: Scores) -> str:
    """Describe the first threshold that is not met; empty if all are met."""
    for name, limit in rules.limits():
        value = metrics.get(name)
        if value is None:
            held_out = any(score in metrics for score in BASELINES)
            why = "this run has none" if held_out else "no row was held out"
            return f"{name} is not known ({why}), and registry.require limits it"
        if limit.max is not None and not value <= limit.max:
            return f"{name} must be at most {limit.max:.6g} (registry.require). Got {value:.6g}"
        if limit.min is not None and not value >= limit.min:
            return f"{name} must be at least {limit.min:.6g} (registry.require). Got {value:.6g}"
    return ""


def _against(champion: Champion, rules: Registry, metrics: Scores) -> Decision:
    name, version = rules.metric, champion.version
    new, old = metrics.get(name), champion.scores.get(name)
    if champion.problem or new is None or old is None:
        problem = champion.problem or f"{name} is not defined on today's held-out rows"
        return Decision(False, f"it cannot be compared with version {version}: {problem}")
    margin = improvement(name, new, old)
    both = f"{name} {new:.6g} against {old:.6g} of version {version} on the same held-out rows"
    equal = " (equal to 1e-5)" if _equal(new, old) else ""
    if equal or not margin > 0:
        return Decision(False, f"it is no better than the champion{equal}: {both}", margin)
    if margin < rules.min_improvement:
        asked = f"{rules.min_improvement:.3%} (registry.min_improvement)"
        return Decision(False, f"better by {margin:.3%}, less than {asked}: {both}", margin)
    return Decision(True, f"better by {margin:.3%}: {both}", margin)


def _against_recorded(champion: Champion, rules: Registry, metrics: Scores) -> Decision:
    """Replace an unreadable champion by any model that is no worse.

    Its recorded scores may be of other rows, so no improvement over them is required.
    """
    name = rules.metric
    unreadable = f"version {champion.version} cannot be loaded ({champion.problem})"
    new, old = metrics.get(name), champion.scores.get(name)
    if new is None or old is None:
        return Decision(False, f"{unreadable}, and no {name} of it is recorded to compare with")
    margin = improvement(name, new, old)
    both = f"{name} {new:.6g} against {old:.6g} recorded when it was registered"
    if margin < 0 and not _equal(new, old):
        return Decision(False, f"{unreadable}, and this model is worse: {both}", margin)
    return Decision(True, f"{unreadable}, and this model is no worse: {both}", margin)


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=ROUNDING)
