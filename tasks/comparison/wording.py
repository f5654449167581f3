"""Values as the terminal and the report write them, the same in both."""

from collections.abc import Sequence
from hashlib import sha256
from os.path import commonprefix

from tasks.comparison.differences import Comparison, Effect, Param
from tasks.comparison.metrics import Metric
from tasks.comparison.runs import RecordedRun, numbers

LONGEST = 40  # characters of a parameter's value
KEPT = 8  # characters before the place where long values part
MISSING = "-"
SHORT_ID = 8


def title(compared: Comparison) -> str:
    """How many runs of what."""
    runs = compared.runs
    experiments = " and ".join(f"'{name}'" for name in dict.fromkeys(r.experiment for r in runs))
    if len(runs) == 1:
        return f"Experiment {experiments}: one run, so there is nothing to compare it with"
    return f"Experiment {experiments}: {len(runs)} runs, differences from run 1"


def ended(run: RecordedRun) -> str:
    """The status, and why where it is not FINISHED."""
    return f"{run.status}: {run.reason}" if run.reason else run.status


def verdict(compared: Comparison) -> str:
    """Which run is best by the headline, and what sets it apart from the first; may be empty."""
    row = compared.headline
    if row is None:
        return ""
    best = row.best[0]
    told = f"Best {row.name}: {numbers(row.best)} with {number(row.values[best])}"
    if best == 0:
        return f"{told}."
    other = [p for p in compared.params if p.values[best] != p.values[0]]
    apart = ", ".join(f"{p.name}={written(p)[best]}" for p in other) or "no parameter"
    change = f" ({change_of(row, best)} from run 1)" if row.changes[best] is not None else ""
    return f"{told}{change}; different from run 1: {apart}."


def same(compared: Comparison) -> str:
    """The metrics that do not differ, in one sentence; may be empty."""
    if not compared.same or len(compared.runs) == 1:
        return ""
    told = ", ".join(f"{name} {number(value)}" for name, value in compared.same.items())
    return f"The same in all that have them: {told}"


def effect_title(compared: Comparison) -> str:
    """What the table of effects shows."""
    return f"Best {compared.headline.name} reached with a value of each parameter"


def effect_cells(effect: Effect) -> tuple[str, str, str, str, str]:
    """Parameter, the value that did best and what it reached, the one that did worst and what."""
    good, bad = shortened((effect.good_value, effect.bad_value))
    return effect.param, good, number(effect.good), bad, number(effect.bad)


def number(value: float | None) -> str:
    """Four significant digits; whole numbers in full."""
    if value is None:
        return MISSING
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def change_of(row: Metric, place: int) -> str:
    """The difference from the first run with its sign; empty where there is none to tell."""
    change = row.changes[place]
    if change is None:
        return ""
    return "±0" if change == 0 else f"{'+' if change > 0 else ''}{number(change)}"


def written(param: Param) -> list[str]:
    """A parameter's values; `-` where one is not recorded."""
    known = [value for value in param.values if value is not None]
    short = dict(zip(known, shortened(known), strict=True))
    return [MISSING if value is None else short[value] for value in param.values]


def shortened(values: Sequence[str]) -> list[str]:
    """Values of readable length; long ones keep the place where they part from each other."""
    if max(map(len, values), default=0) <= LONGEST:
        return list(values)
    shared = commonprefix(sorted(set(values)))  # noqa: RUF071 (by characters, as wanted)
    start = max(0, len(shared) - KEPT)
    tails = [("…" if start else "") + value[start:] for value in values]
    short = [t if len(t) <= LONGEST else t[: LONGEST - 1] + "…" for t in tails]
    if len(set(short)) == len(set(values)):
        return short
    digests = [sha256(value.encode()).hexdigest()[:6] for value in values]
    return [f"{text} #{digest}" for text, digest in zip(short, digests, strict=True)]
