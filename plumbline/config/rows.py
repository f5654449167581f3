"""The configuration sections `data.window` and `data.split`: rows to use, rows to hold out."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from plumbline.config.section import Count, Name, Positive, Section
from plumbline.errors import must_be

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _as_text(given: Any) -> Any:
    """An unquoted date, which YAML reads as one, as text; anything else unchanged."""
    return given.isoformat() if isinstance(given, date) else given


def _parsed(text: str) -> datetime:
    """Parse an ISO 8601 date or time, in UTC if it has no zone. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


DateText = Annotated[Name, BeforeValidator(_as_text)]


class Window(Section):
    """Which files of a table to train on: one of three keys; without it, all of them equally."""

    files: Count | None = None
    """train on the last files in the order of their paths, at most this many"""

    since: DateText | None = None
    """train on the files changed since then: a date or time (in UTC if it has no zone), such as
    "2026-01-01", or an age when the run starts: "90m", "12h", "30d", "4w" """

    half_life: Positive | None = None
    """train on all files, but halve a row's weight for every half_life files that come after its
    own in the order of their paths"""

    @model_validator(mode="after")
    def _agrees(self) -> "Window":
        given = [n for n in type(self).model_fields if getattr(self, n) is not None]
        if len(given) != 1:
            allowed = "exactly one of files, since and half_life"
            raise must_be("data.window", allowed, " and ".join(given) or "none")
        if self.since is not None:
            self.start(datetime.now(UTC))
        return self

    def start(self, now: datetime) -> datetime:
        """The time that `since` names; an age is counted back from `now`."""
        assert self.since is not None
        age = re.fullmatch(r"(\d+)([mhdw])", self.since)
        try:
            return now - timedelta(**{UNITS[age[2]]: int(age[1])}) if age else _parsed(self.since)
        except (ValueError, OverflowError):
            allowed = 'a date such as "2026-01-01" or an age such as "30d" or "12h"'
            raise must_be("data.window.since", allowed, repr(self.since)) from None


class SplitBy(Section):
    """How rows are held out: one by one, by group, or by time."""

    by: Literal["rows", "group", "time"] = "rows"
    """what is drawn for testing, validation and folds: single rows, or whole groups (such as
    customers), whose rows stay together; time: the test rows are the latest, and validation rows
    and folds are drawn row by row"""

    column: Name | None = None
    """group: the column that names each row's group; it is not a feature unless features or
    categorical list it; time: the column that cut is compared with"""

    cut: DateText | float | None = None
    """time: the first date or time (in UTC if it has no zone) or number of the test rows; null: the
    last files by path are held out, about test_fraction of all bytes"""

    @model_validator(mode="after")
    def _agrees(self) -> "SplitBy":
        if self.cut is not None and self.by != "time":
            raise must_be("data.split.cut", "left out unless data.split.by is time", self.cut)
        named, needed = self.column is not None, self.by == "group" or self.cut is not None
        if named < needed or named > (self.by != "rows"):
            allowed = "given with data.split.by group, and with data.split.cut, not with by rows"
            raise must_be("data.split.column", allowed, self.column)
        try:
            self.cut_value  # noqa: B018
        except ValueError:
            allowed = 'a number, or a date or time such as "2026-01-01"'
            raise must_be("data.split.cut", allowed, repr(self.cut)) from None
        return self

    @property
    def group(self) -> str | None:
        """The column that names each row's group."""
        return self.column if self.by == "group" else None

    @property
    def time(self) -> str | None:
        """The column whose values decide which rows are held out for testing."""
        return None if self.cut is None else self.column

    @property
    def cut_value(self) -> datetime | float | None:
        """The value of `cut`; a date or time has its time zone."""
        return _parsed(self.cut) if isinstance(self.cut, str) else self.cut
