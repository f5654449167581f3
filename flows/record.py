"""make record: record a run that MLflow's store could not take. `python -m flows.record FOLDER`

This file is the command; the flow is in flows/record_flow.py.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from flows.pipeline import import_the_slow_parts
from flows.support.command import leave, run_command
from flows.support.environment import prepare_environment
from flows.support.server import prefect_server
from plumbline.errors import refuse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.record",
        description="Record what was trained while MLflow's store was away.",
    )
    parser.add_argument("folder", help="as the run that could not be recorded named it")
    return run_command(lambda: record_folder(parser.parse_args(arguments).folder))


def record_folder(folder: str) -> None:
    """Check that there is something to record, then run the flow against a Prefect server."""
    prepare_environment()
    if not folder or not Path(folder).is_dir():
        raise refuse("FOLDER", "a folder, as the run that could not be recorded named it", folder)
    with prefect_server(meanwhile=import_the_slow_parts):
        from flows.record_flow import run

        run(folder)


if __name__ == "__main__":
    leave(main())
