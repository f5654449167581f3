"""A recorded run, as a comparison sees it: plain values, wherever they were read from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class RecordedRun:
    """One run.

    Attributes:
        id: 32 hexadecimal digits.
        name: its name in the UI; several runs may share one.
        experiment: the name of its experiment.
        status: FINISHED, FAILED, KILLED or RUNNING.
        reason: why it ended otherwise than FINISHED; empty where that is not known.
        started: local time.
        params: every leaf of the configuration by its dotted key, as text.
        metrics: the last value of each.
        tags: data_digest, git_commit, git_dirty and others; any may be missing.
    """

    id: str
    name: str
    experiment: str
    status: str
    reason: str
    started: datetime
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def numbers(places: Iterable[int]) -> str:
    """Runs by the numbers they are shown under, from places in the list: `run 2`, `runs 1, 3`."""
    shown = [str(place + 1) for place in places]
    return f"run{'s' if len(shown) > 1 else ''} {', '.join(shown)}"
