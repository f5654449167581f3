"""The configuration's sections for operation: when a run starts, where it works, whom it notifies,
which model may become champion, and which data may train."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    field_validator,
    model_validator,
)

from plumbline.config.metrics import COMPARABLE, METRICS, REFUSED, SCORES, current_name
from plumbline.config.section import Count, Fraction, Name, Positive, Section, disagreement

ADDRESS = re.compile(r"(ray://)?[^\s:/]+:\d{1,5}")
AT_MOST_EVERY = 60.0  # seconds
Runner = Annotated[
    Literal["threads", "ray"],
    Field(
        description="what per-file work and trials run on; ray: make install GROUPS=cluster once"
    ),
]


class Schedule(Section):
    """When `make schedule` retrains: give cron, every or on_change."""

    cron: Name | None = Field(
        None, description='five fields, such as "0 3 * * *"; or give every or on_change'
    )
    timezone: Name = Field("UTC", description="the time zone of cron, such as Europe/Berlin")
    every: Annotated[float, Field(ge=1)] | None = Field(
        None, description="seconds from one start to the next; or give cron or on_change"
    )
    on_change: bool = Field(
        False, description="true: when files of data.path change; or give cron or every"
    )
    at_most_every: Annotated[float, Field(ge=1)] = Field(
        AT_MOST_EVERY, description="with on_change: seconds from one start to the next, at least"
    )

    @model_validator(mode="after")
    def _agrees(self) -> "Schedule":
        given = {"cron": self.cron, "every": self.every, "on_change": self.on_change or None}
        found = [name for name, value in given.items() if value is not None]
        if len(found) != 1:
            keys = [f"schedule.{name}" for name in given]
            raise disagreement(*keys, "exactly one of the three", " and ".join(found) or "none")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder, a long name
            allowed = "a time zone's name, such as UTC or Europe/Berlin"
            raise disagreement("schedule.timezone", allowed, self.timezone) from None
        return self


class Notify(Section):
    """Who is notified of how a run ended."""

    to: Annotated[list[Name], Field(min_length=1)] = Field(
        description="Apprise addresses, such as mailto://... or json://host/path; ${NAME} stands "
        "for an environment variable, so that no secret is written down"
    )
    on: Annotated[list[Literal["failure", "success"]], Field(min_length=1)] = Field(
        ["failure"],
        description="what is reported: failure is a run that failed, was refused, crashed or was "
        "killed; success one that finished",
    )


class Ray(Section):
    """The cluster that `runner: ray` uses."""

    address: Name | None = Field(
        None,
        description="host:port or ray://host:port of a running cluster; null: one on this "
        "machine, for the length of the command",
    )
    workers: Count | None = Field(
        None,
        description="processes that train one model together, each on a core, or on a GPU where "
        "the cluster has as many; null: one trains, in the command. A line on R factors needs none",
    )

    @model_validator(mode="after")
    def _agrees(self) -> "Ray":
        if self.address is not None and not ADDRESS.fullmatch(self.address):
            allowed = "null, host:port or ray://host:port of a running Ray cluster"
            raise disagreement("ray.address", allowed, self.address)
        return self

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of a given cluster."""
        assert self.address is not None
        host, port = self.address.removeprefix("ray://").rsplit(":", 1)
        return host, int(port)


class RunsOn(Section):
    """Where a command's work runs, without the rest of its configuration."""

    model_config = ConfigDict(extra="ignore")

    runner: Runner = "threads"
    ray: Ray = Ray()


class Limit(Section):
    """The range that a metric must be in."""

    min: float | None = Field(None, description="the metric must be at least this; null: any")
    max: float | None = Field(None, description="the metric must be at most this; null: any")


# With a registry rows are held out, and mae is of those alone.
_LIMITS: dict[str, Any] = {name: (Limit | None, None) for name in SCORES if name != "train_mae"}
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
        return ((name, limit) for name, limit in self.require if limit is not None)


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
