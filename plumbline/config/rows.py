"""The configuration's sections of data that say which rows count, and which go together."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from plumbline.config.section import Count, Name, Section, disagreement

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


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
        assert self.since is not None
        age = re.fullmatch(r"(\d+)([mhdw])", self.since)
        try:
            if age:
                return now - timedelta(**{UNITS[age[2]]: int(age[1])})
            moment = datetime.fromisoformat(self.since)
        except (ValueError, OverflowError):
            allowed = 'a date such as "2026-01-01" or an age such as "30d" or "12h"'
            raise disagreement("data.window.since", allowed, repr(self.since)) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Together(Section):
    """What is held out as one."""

    by: Literal["rows", "group"] = Field(
        "rows",
        description="what is drawn for testing, validation and folds: rows, or groups, of each of "
        "which all rows go together (a customer is not on both sides)",
    )
    column: Name | None = Field(
        None,
        description="group: the column that names each row's; it is no feature, unless features or "
        "categorical name it",
    )

    @model_validator(mode="after")
    def _agrees(self) -> "Together":
        if (self.by == "group") != (self.column is not None):
            allowed = "given with data.split.by group, and only then"
            raise disagreement("data.split.column", allowed, self.column)
        return self
