"""The configuration of retraining's two gates: which model may be champion, which data may train.

The rules between these keys and the data's are here, too; plumbline/config/schema.py applies them.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model, field_validator, model_validator

from plumbline.config.metrics import (
    COMPARABLE,
    METRICS,
    REFUSED,
    SCORES,
    current_name,
    unknown_because,
)
from plumbline.config.section import Count, Fraction, Name, Positive, Section, disagreement

# With a registry rows are held out, and a metric must be one that can be measured then.
THRESHOLDS = tuple(n for n in SCORES if not unknown_because(n, test_fraction=0.5, folds=2))


class Limit(Section):
    """The range that a metric must be in."""

    min: float | None = Field(None, description="the metric must be at least this; null: any")
    max: float | None = Field(None, description="the metric must be at most this; null: any")


_LIMITS: dict[str, Any] = {name: (Limit | None, None) for name in THRESHOLDS}
Require = create_model("Require", __base__=Section, **_LIMITS)


class Registry(Section):
    """Where models are registered, and when one becomes champion. Left out: not registered."""

    model: Name = Field(description="the registered model: letters, digits, spaces, '-', '_', '.'")
    require: Require = Field(Require(), description="thresholds that a champion must keep")
    metric: Annotated[
        Literal[(*COMPARABLE, "auto")],  # type: ignore[valid-type]
        BeforeValidator(current_name),
    ] = Field(
        "auto",
        description="what a new model and the champion are compared by, both on the held-out rows "
        "of today's data; auto: test_rmse, for classes test_log_loss",
    )
    min_improvement: Fraction = Field(
        1e-4,
        description="how much better a new champion must be, as a share of the old one's value; "
        "scores within 1e-5 of each other are equal whatever this is",
    )
    keep: Count = Field(
        20,
        description="versions to keep; older ones are deleted with their models and cached R "
        "factors, but never the champion, the previous one or those of a run under way",
    )

    @field_validator("require", mode="before")
    @classmethod
    def _named_as_now(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for name in REFUSED.keys() & given:
            raise disagreement(f"registry.require.{name}", REFUSED[name], name)
        renamed = {current_name(name): limit for name, limit in given.items()}
        if len(renamed) < len(given):
            both = [name for name in given if current_name(name) != name]
            raise disagreement("registry.require", "one limit a metric", f"{both[0]} twice")
        return renamed

    @model_validator(mode="after")
    def _agrees(self) -> "Registry":
        if not re.fullmatch(r"\w[\w .-]*(?<! )", self.model) or ".." in self.model:
            raise disagreement(
                "registry.model", "of letters, digits, spaces, '-', '_' and '.'", repr(self.model)
            )
        for name, limit in self.limits():
            low, high = limit.min, limit.max
            bounds = [bound for bound in (low, high) if bound is not None]
            if not bounds or bounds[0] > bounds[-1]:
                found = f"min {low}, max {high}"
                raise disagreement(
                    f"registry.require.{name}", "a min, a max or both in order", found
                )
        return self

    def of_target(self, classes: bool) -> "Registry":
        """The same rules with the metric that auto stands for.

        Raises:
            InputError: a metric cannot be measured of such a target.
        """
        usual, other = ("test_log_loss", "number") if classes else ("test_rmse", "classes")
        what = "the target has classes" if classes else "the target is a number"
        for name, _ in self.limits():
            if METRICS[name].target == other:
                raise disagreement(f"registry.require.{name}", f"left out, since {what}", name)
        if self.metric == "auto":
            return self.model_copy(update={"metric": usual})
        if METRICS[self.metric].target == other:
            raise disagreement("registry.metric", f"auto or {usual}, since {what}", self.metric)
        return self

    def limits(self) -> Iterator[tuple[str, Limit]]:
        """(metric, its range) for every threshold that is set."""
        found = ((name, getattr(self.require, name)) for name in THRESHOLDS)
        return ((name, limit) for name, limit in found if limit is not None)


class Drift(Section):
    """What is done when today's data is not like the champion's."""

    max_shift: Positive = Field(
        0.5, description="how far a column's mean may move, in the champion's standard deviations"
    )
    action: Literal["warn", "stop"] = Field(
        "warn",
        description="beyond that, and for a column that vanished or became constant: say so, or "
        "end the run before it trains",
    )
