"""make compare: what differs between runs, and what it did. `python -m flows.compare`"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from flows.support.command import argument, main, prepare_store


def compare(
    experiment: str | None = None, runs: Sequence[str] = (), out: Path | None = None
) -> None:
    """Compare recorded runs: the parameters that differ, and the metrics."""
    prepare_store()
    from tasks.compare import comparison
    from tasks.compare.report import check_writable, write_report
    from tasks.compare.text import show
    from tasks.tracking.history import other_experiments, read_losses, read_runs

    if out:
        check_writable(out)
    compared = comparison.compare(read_runs(experiment, runs))
    if out:
        write_report(compared, [read_losses(run.id) for run in compared.runs], out)
    show(compared)
    if len(compared.runs) == 1 and not runs:
        for name in other_experiments(compared.runs[0].experiment):
            print(f"More than one run has: make compare EXPERIMENT={shlex.quote(name)}")
    if out:
        print(f"Written to {out}.")


if __name__ == "__main__":
    main(
        compare,
        argument("--experiment", help="its name; default: the one that ran last"),
        argument(
            "--runs",
            nargs="+",
            default=[],
            metavar="RUN",
            help="ids, beginnings of ids, or names; default: the latest ten but sweeps' parents",
        ),
        argument("--out", type=Path, help="also write an HTML file, with the loss curves"),
    )
