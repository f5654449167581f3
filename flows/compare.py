"""make compare: what differs between runs, and what it did. `python -m flows.compare`"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from flows.support.command import leave, run_command
from flows.support.environment import prepare_environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.compare",
        description="Compare recorded runs: the parameters that differ, and the metrics.",
    )
    parser.add_argument("--experiment", help="its name; default: the one that ran last")
    parser.add_argument(
        "--runs",
        nargs="+",
        default=[],
        metavar="RUN",
        help="ids, beginnings of ids, or names; default: the latest ten, without sweeps' parents",
    )
    parser.add_argument("--out", type=Path, help="also write an HTML file, with the loss curves")
    return run_command(compare, **vars(parser.parse_args(arguments)))


def compare(
    experiment: str | None = None, runs: Sequence[str] = (), out: Path | None = None
) -> None:
    """Read the runs, print what differs, and write the report where one is asked for."""
    prepare_environment()
    from tasks.compare import comparison
    from tasks.compare.report import check_writable, write_report
    from tasks.compare.text import show
    from tasks.tracking.history import read_losses, read_runs
    from tasks.tracking.store import check_store

    if out:
        check_writable(out)
    check_store()
    compared = comparison.compare(read_runs(experiment, runs))
    if out:
        write_report(compared, [read_losses(run.id) for run in compared.runs], out)
    show(compared)
    if out:
        print(f"Written to {out}.")


if __name__ == "__main__":
    leave(main())
