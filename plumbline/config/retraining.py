"""The configuration's sections for retraining: when, on which files, and whom to tell."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from plumbline.config.section import Count, Name, Section, disagreement

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Schedule(Section):
    """When `make schedule` retrains: give cron, or every."""

    cron: Name | None = Field(None, description='five fields, such as "0 3 * * *"; or give every')
    timezone: Name = Field("UTC", description="the time zone of cron, such as Europe/Berlin")
    every: Annotated[float, Field(ge=1)] | None = Field(
        None, description="seconds from one start to the next; or give cron"
    )

    @model_validator(mode="after")
    def _agrees(self) -> "Schedule":
        if (self.cron is None) == (self.every is None):
            found = "neither" if self.cron is None else "both"
            raise disagreement("schedule.cron", "schedule.every", "exactly one of the two", found)
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder, a long name
            allowed = "a time zone's name, such as UTC or Europe/Berlin"
            raise disagreement("schedule.timezone", allowed, self.timezone) from None
        return self


class Window(Section):
    """Which files of a table to train on: give one of the three; left out: all of them alike."""

    files: Count | None = Field(
        None, description="the last so many files, in the order of their paths"
    )
    since: Name | None = Field(
        None,
        description="files changed since then: a date or time (UTC where no zone is given), such "
        'as "2026-01-01", or an age at the start of the run: "90m", "12h", "30d", "4w"',
    )
    half_life: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="in files: all of them, but a row counts half for every so many files that "
        "come after its own in the order of their paths",
    )

    @field_validator("since", mode="before")
    @classmethod
    def _written(cls, given: Any) -> Any:
        """YAML reads an unquoted date as one."""
        return given.isoformat() if isinstance(given, date) else given

    @model_validator(mode="after")
    def _agrees(self) -> "Window":
        given = [n for n in type(self).model_fields if getattr(self, n) is not None]
        if len(given) != 1:
            allowed = "exactly one of files, since and half_life"
            raise disagreement("data.window", allowed, " and ".join(given) or "none")
        if self.since is not None:
            self.start(datetime.now(UTC))
        return self

    def start(self, now: datetime) -> datetime:
        """The moment that `since` names, at a given time."""
        age = re.fullmatch(r"(\d+)([mhdw])", self.since)
        try:
            if age:
                return now - timedelta(**{UNITS[age[2]]: int(age[1])})
            moment = datetime.fromisoformat(self.since)
        except (ValueError, OverflowError):
            allowed = 'a date such as "2026-01-01" or an age such as "30d" or "12h"'
            raise disagreement("data.window.since", allowed, repr(self.since)) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Notify(Section):
    """Whom to tell how a run ended."""

    to: Annotated[list[Name], Field(min_length=1)] = Field(
        description="Apprise addresses, such as mailto://... or json://host/path; ${NAME} stands "
        "for an environment variable, so that no secret is written down"
    )
    on: Annotated[list[Literal["failure", "success"]], Field(min_length=1)] = Field(
        ["failure"],
        description="what to tell: failure is a run that failed, was refused, crashed or was "
        "killed; success one that finished",
    )
