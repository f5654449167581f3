"""Memory: the peak of the pass over a million rows, and over many more in files as large."""

from benchmarks.measure import fresh_scratch, in_turn, median, ratio, run
from benchmarks.report import GOAL_COLUMNS, Table, goal
from benchmarks.tables import repeated, table

BLOCK = {"rows": 1_000_000, "files": 10}


def measure(times: int, rounds: int) -> list[Table]:
    """Compare ten files with the same files under many names."""
    fresh_scratch()
    block = table(**BLOCK)
    folders = {1: repeated(block, 1), times: repeated(block, times)}
    spent = in_turn(
        {str(n): lambda f=f: run("-m", "benchmarks.ours", f, 0) for n, f in folders.items()},
        rounds,
        warm=False,
    )
    few, many = spent["1"], spent[str(times)]
    lines = [
        [
            f"{n * BLOCK['rows']:,}",
            str(n * BLOCK["files"]),
            f"{median([s.peak for s in each]):.0f}",
            f"{median([s.seconds for s in each]):.1f}",
        ]
        for n, each in ((1, few), (times, many))
    ]
    note = f"Whole processes of the pass alone, 100,000 rows a file, median of {rounds}."
    found = ratio([s.peak for s in many], [s.peak for s in few])
    return [
        Table("Memory", ("rows", "files", "peak MiB", "seconds"), lines, note),
        Table(
            "Memory: goal", GOAL_COLUMNS, [goal(f"peak, {times} M rows / 1 M", found, 1.2)], note
        ),
    ]
