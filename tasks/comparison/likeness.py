"""Whether runs are alike enough to compare: the same rows, the same split, the same code."""

from collections.abc import Callable, Iterator, Sequence

from tasks.comparison.runs import RecordedRun, numbers

DIGITS = 8  # of a digest or a commit; as many as people know it by
UNKNOWN = ("", "unknown")


def warnings(runs: Sequence[RecordedRun]) -> Iterator[str]:
    """One sentence for each way in which the runs are unlike: what differs, and in which runs.

    A run that ended before its data was read has no digest; it is left out of that.
    """
    if told := _groups(runs, lambda run: run.tags.get("data_digest", "")[:DIGITS]):
        yield f"The data differ, so the metrics are of different rows: {told}."
    if told := _groups(runs, _split):
        yield f"The rows held out differ: {told}."
    if told := _groups(runs, lambda run: run.params.get("training.loss", "")):
        yield f"`loss` is not the same thing in all runs: {told}."
    if told := _groups(runs, _code):
        yield f"The code differs: {told}."


def _groups(runs: Sequence[RecordedRun], of: Callable[[RecordedRun], str]) -> str:
    """Which runs have which value, in words; empty where all that is known is one value."""
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        if (value := of(run)) not in UNKNOWN:
            groups.setdefault(value, []).append(place)
    if len(groups) < 2:
        return ""
    return "; ".join(f"{value} in {numbers(places)}" for value, places in groups.items())


def _split(run: RecordedRun) -> str:
    """The share, the folds and the seed that places the rows; the seed only where it does."""
    share, folds = run.params.get("data.test_fraction"), run.params.get("data.folds")
    if share is None:
        return ""
    if share in ("0", "0.0") and folds in (None, "0"):
        return "none"
    seed = run.params.get("data.seed")
    return f"test_fraction {share}, folds {folds}, seed {seed}"


def _code(run: RecordedRun) -> str:
    commit = run.tags.get("git_commit", "")
    if commit in UNKNOWN:
        return ""
    changed = " with uncommitted changes" if run.tags.get("git_dirty") == "true" else ""
    return commit[:DIGITS] + changed
