"""make compare: compare runs by their parameters and metrics. `python -m flows.compare`"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from flows.support.command import argument, main, prepare_store


def compare(
    experiment: str | None = None, runs: Sequence[str] = (), out: Path | None = None
) -> None:
    """Compare recorded runs: print the parameters and metrics that differ."""
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
            print(f"An experiment with several runs: make compare EXPERIMENT={shlex.quote(name)}")
    if out:
        print(f"Written to {out}.")


if __name__ == "__main__":
    main(
        compare,
        argument("--experiment", help="its name; default: the experiment of the latest run"),
        argument(
            "--runs",
            nargs="+",
            default=[],
            metavar="RUN",
            help="ids, prefixes of ids, or names; default: the latest ten, without parent runs of "
            "sweeps",
        ),
        argument("--out", type=Path, help="also write an HTML report with the loss curves"),
    )
