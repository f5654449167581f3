"""The configuration's sections for operation: when a run starts, where it works, whom it tells."""

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, model_validator

from plumbline.config.section import Name, Section, disagreement

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
