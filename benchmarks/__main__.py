"""make bench: `python -m benchmarks quick | small | full [SECTION ...]`.

Figures are of whole processes, or ratios of two things that are run in turn; nothing is asserted.
The tables are also written to benchmarks/data/report-SIZE.md.
"""

import argparse
from collections.abc import Callable, Mapping

from benchmarks import (
    batches,
    exact,
    growth,
    memory,
    nets,
    one_pass,
    passes,
    report,
    retraining,
    scaling,
    start_up,
    sweep,
)
from benchmarks.measure import DATA
from benchmarks.report import Table

Section = Callable[[], list[Table]]

SIZES: Mapping[str, Mapping[str, Section]] = {
    "quick": {
        "one-pass": lambda: one_pass.measure(500_000, rounds=1, loop_epochs=20),
        "retraining": lambda: retraining.measure(500_000, rounds=1),
        "memory": lambda: memory.measure(times=2, rounds=1),
        "exact": lambda: exact.measure(500_000, rounds=1),
        "batches": lambda: batches.measure(2_000_000, rounds=1, times=2),
        "passes": lambda: passes.measure(100_000, rounds=1),
    },
    "small": {
        "start-up": lambda: start_up.measure(rounds=3),
        "sweep": lambda: sweep.measure(rounds=2),
        "one-pass": lambda: one_pass.measure(1_000_000, rounds=3, loop_epochs=1000),
        "retraining": lambda: retraining.measure(1_000_000, rounds=3),
        "memory": lambda: memory.measure(times=5, rounds=3),
        "growth": lambda: growth.measure(rounds=3),
        "scaling": lambda: scaling.measure(rounds=3),
        "nets": lambda: nets.measure(rounds=3),
        "exact": lambda: exact.measure(1_000_000, rounds=3),
        "batches": lambda: batches.measure(2_000_000, rounds=3, times=2),
        "passes": lambda: passes.measure(500_000, rounds=5),
    },
    "full": {
        "start-up": lambda: start_up.measure(rounds=5),
        "sweep": lambda: sweep.measure(rounds=3),
        "one-pass": lambda: one_pass.measure(10_000_000, rounds=3, loop_epochs=50),
        "retraining": lambda: retraining.measure(10_000_000, rounds=3),
        "memory": lambda: memory.measure(times=100, rounds=1),
        "growth": lambda: growth.measure(rounds=3),
        "scaling": lambda: scaling.measure(rounds=3),
        "nets": lambda: nets.measure(rounds=3),
        "exact": lambda: exact.measure(1_000_000, rounds=3),
        "batches": lambda: batches.measure(2_000_000, rounds=3, times=10),
        "passes": lambda: passes.measure(500_000, rounds=5),
    },
}


def main() -> None:
    """Run the sections, print each table when it is complete, and write all of them as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SIZES["small"]))
    given = parser.parse_args()
    sections = SIZES[given.size]
    unknown = set(given.sections) - set(sections)
    if unknown:
        parser.error(f"SECTION must be one of {', '.join(sections)}. Got {unknown.pop()} instead.")
    tables = []
    for name in given.sections or sections:
        for table in sections[name]():
            table.print()
            tables.append(table)
    path = DATA / "-".join(["report", given.size, *given.sections])
    report.write(tables, path.with_suffix(".md"))
    print(f"As Markdown: {path.relative_to(DATA.parent.parent)}.md")


if __name__ == "__main__":
    main()
