"""The configuration sections for operation: schedule, notify, ray, registry and drift."""

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
from plumbline.config.section import Count, Fraction, Name, NotEmpty, Positive, Section
from plumbline.errors import must_be

ADDRESS = re.compile(r"(ray://)?[^\s:/]+:\d{1,5}")
AT_MOST_EVERY = 60.0  # seconds
Runner = Annotated[
    Literal["threads", "ray"],
    Field(description="where per-file work and trials run; ray: first make install GROUPS=cluster"),
]


class Schedule(Section):
    """When `make schedule` retrains: exactly one of cron, every and on_change."""

    cron: Name | None = None
    """a cron expression of five fields, such as "0 3 * * *" """

    timezone: Name = "UTC"
    """the time zone of cron, such as Europe/Berlin"""

    every: Annotated[float, Field(ge=1)] | None = None
    """seconds from one start to the next"""

    on_change: bool = False
    """true: retrain when files of data.path change"""

    at_most_every: Annotated[float, Field(ge=1)] = AT_MOST_EVERY
    """with on_change: the least number of seconds between two starts"""

    @model_validator(mode="after")
    def _agrees(self) -> "Schedule":
        given = {"cron": self.cron, "every": self.every, "on_change": self.on_change or None}
        found = [name for name, value in given.items() if value is not None]
        if len(found) != 1:
            keys = " and ".join(f"schedule.{name}" for name in given)
            raise must_be(keys, "exactly one of the three", " and ".join(found) or "none")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder, a long name
            allowed = "a time zone's name, such as UTC or Europe/Berlin"
            raise must_be("schedule.timezone", allowed, self.timezone) from None
        return self


class Notify(Section):
    """Who is notified when a run ends."""

    to: NotEmpty[Name]
    """Apprise addresses, such as mailto://... or json://host/path; ${NAME} is replaced by an
    environment variable, so that the file holds no secret"""

    on: NotEmpty[Literal["failure", "success"]] = Field(["failure"])
    """when to notify: failure is a run that failed, was refused, crashed or was killed; success is
    one that finished"""


class Ray(Section):
    """The cluster that `runner: ray` uses."""

    address: Name | None = None
    """host:port or ray://host:port of a running cluster; null: start one on this machine for the
    duration of the command"""

    workers: Count | None = None
    """processes that train one model together, each on a core, or on a GPU if the cluster has
    enough; null: train in the command's own process; a linear model that trains on R factors needs
    none"""

    @model_validator(mode="after")
    def _agrees(self) -> "Ray":
        if self.address is not None and not ADDRESS.fullmatch(self.address):
            allowed = "null, host:port or ray://host:port of a running Ray cluster"
            raise must_be("ray.address", allowed, self.address)
        return self

    @property
    def place(self) -> tuple[str, int]:
        """The host and port of `address`, which must be given."""
        assert self.address is not None
        host, port = self.address.removeprefix("ray://").rsplit(":", 1)
        return host, int(port)


class RunsOn(Section):
    """Where a command's work runs; the other keys of its file are ignored."""

    model_config = ConfigDict(extra="ignore")

    runner: Runner = "threads"
    ray: Ray = Ray()


class Limit(Section):
    """The range that a metric must be in: min, max or both."""

    min: float | None = None
    """the least value allowed; null: no limit"""

    max: float | None = None
    """the largest value allowed; null: no limit"""


_LIMITS: dict[str, Any] = {name: (Limit | None, None) for name in SCORES}
Require = create_model("Require", __base__=Section, **_LIMITS)


class Registry(Section):
    """Where models are registered and when one becomes champion; optional."""

    model: Name
    """name of the registered model: letters, digits, spaces, '-', '_', '.'"""

    require: Require = Require()
    """thresholds that a champion must meet"""

    metric: Annotated[
        Literal[(*COMPARABLE, "auto")],  # type: ignore[valid-type]
        BeforeValidator(current_name),
    ] = "auto"
    """the metric that compares a new model with the champion, both on the held-out rows of today's
    data; auto: test_rmse, or test_log_loss for classes"""

    min_improvement: Fraction = 1e-4
    """how much better a new champion must be, as a share of the old one's value; scores within a
    relative 1e-5 of each other always count as equal"""

    keep: Count = 20
    """number of versions to keep; older ones are deleted with their models and cached R factors,
    but never the champion, the previous champion or versions of a run in progress"""

    @field_validator("require", mode="before")
    @classmethod
    def _named_as_now(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for name in REFUSED.keys() & given:
            raise must_be(f"registry.require.{name}", REFUSED[name], name)
        renamed = {current_name(name): limit for name, limit in given.items()}
        if len(renamed) < len(given):
            both = [name for name in given if current_name(name) != name]
            raise must_be("registry.require", "one limit per metric", f"{both[0]} twice")
        return renamed

    @model_validator(mode="after")
    def _agrees(self) -> "Registry":
        if not re.fullmatch(r"\w[\w .-]*(?<! )", self.model) or ".." in self.model:
            raise must_be(
                "registry.model", "of letters, digits, spaces, '-', '_' and '.'", repr(self.model)
            )
        for name, limit in self.limits():
            low, high = limit.min, limit.max
            bounds = [bound for bound in (low, high) if bound is not None]
            if not bounds or bounds[0] > bounds[-1]:
                found = f"min {low}, max {high}"
                raise must_be(f"registry.require.{name}", "a min, a max or both in order", found)
        return self

    def of_target(self, classes: bool) -> "Registry":
        """The same section with metric auto resolved for the target's type.

        Raises:
            InputError: registry.metric or registry.require names a metric of the other type.
        """
        usual, other = ("test_log_loss", "number") if classes else ("test_rmse", "classes")
        what = "the target has classes" if classes else "the target is a number"
        for name, _ in self.limits():
            if METRICS[name].target == other:
                raise must_be(f"registry.require.{name}", f"left out, since {what}", name)
        if self.metric == "auto":
            return self.model_copy(update={"metric": usual})
        if METRICS[self.metric].target == other:
            raise must_be("registry.metric", f"auto or {usual}, since {what}", self.metric)
        return self

    def limits(self) -> Iterator[tuple[str, Limit]]:
        """Yield (metric, its range) for every threshold that is set."""
        return ((name, limit) for name, limit in self.require if limit is not None)


class Drift(Section):
    """What to do if today's data differs from the champion's."""

    max_shift: Positive = 0.5
    """how far a column's mean may move, in the champion's standard deviations"""

    action: Literal["warn", "stop"] = "warn"
    """if a mean moves further, or a column vanishes or becomes constant: warn, or stop the run
    before it trains"""
