"""make sweep: run many configurations. `python -m flows.sweep CONFIG [key=value ...]`

This file is the command; the flow is in flows/sweep_flow.py.
"""

import argparse
from collections.abc import Sequence

from flows.cluster import check_runner, cluster, connected_to
from flows.command import leave, run_command
from flows.environment import prepare_environment
from flows.pipeline import import_the_slow_parts
from flows.server import prefect_server
from regression.reference import as_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(lambda: run_sweep(*read_arguments(arguments)))


def read_arguments(arguments: Sequence[str] | None) -> tuple[str, list[str]]:
    """The sweep's path and the overrides."""
    from regression.sweep_file import SweepFile

    parser = argparse.ArgumentParser(
        prog="python -m flows.sweep",
        description="Run many configurations: one parent run, a nested run for each trial.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="The file names a base (or holds the base's keys) and what varies:\n\n"
        "  base: the path of an experiment, relative to this file\n" + as_text(SweepFile),
    )
    parser.add_argument("config", help="a YAML file, such as configs/sweep.yaml")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="replaces a key, such as sweep.trials=50 or, of the base, training.epochs=500",
    )
    given = parser.parse_args(arguments)
    return given.config, given.overrides


def run_sweep(path: str, overrides: Sequence[str]) -> None:
    """Check the input, then run the flow against a Prefect server."""
    from regression.sweep_file import load_sweep

    prepare_environment()
    sweep = load_sweep(path, overrides)
    check_runner(sweep.runs_on)
    with (
        cluster(sweep.runs_on) as found,
        prefect_server(meanwhile=import_the_slow_parts),
        connected_to(found),
    ):
        from flows.sweep_flow import run

        run(sweep)


if __name__ == "__main__":
    leave(main())
