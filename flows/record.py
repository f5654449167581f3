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
    return run_command(record, **vars(parser.parse_args(arguments)))


def record(folder: str) -> None:
    """Check that there is something to record, then run the flow against a Prefect server."""
    prepare_environment()
    if not folder or not Path(folder).is_dir():
        raise refuse("FOLDER", "a folder, as the run that could not be recorded named it", folder)
    with prefect_server(meanwhile=import_the_slow_parts):
        from flows.record_flow import record_kept
        from flows.support.running import run_leased
        from tasks.kept import take_up
        from tasks.lease import only_retraining

        registry = take_up(folder).result.config.registry
        with only_retraining(registry and registry.model):
            recorded = run_leased(record_kept, folder)
        print(f"Recorded as run '{recorded}'. To look at it: make ui")


if __name__ == "__main__":
    leave(main())
