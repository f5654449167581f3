"""make sweep: run many configurations. `python -m flows.sweep CONFIG [key=value ...]`

This file is the command; the flow is in flows/sweep_flow.py.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.pipeline import check, import_the_slow_parts, read_arguments
from flows.support.command import leave, run_command
from flows.support.environment import prepare_environment
from flows.support.ray import check_runner, cluster, connected_to
from flows.support.server import prefect_server
from plumbline.config.reference import as_text

if TYPE_CHECKING:
    from plumbline.config.sweep import Sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    from plumbline.config.sweep_file import SweepFile

    description = "Run many configurations: one parent run, a nested run for each trial."
    base = "  base: the path of an experiment, relative to this file; or that experiment's keys\n"
    given = read_arguments(arguments, "flows.sweep", description, base + as_text(SweepFile))
    return run_command(run_sweep, *given)


def run_sweep(path: str, overrides: Sequence[str]) -> None:
    """Run the flow once with what a file says."""
    from plumbline.config.sweep_file import load_sweep

    prepare_environment()
    sweep(load_sweep(path, overrides))


def sweep(plan: "Sweep") -> str:
    """Run the flow once and say where to look, with servers as `flows.pipeline.pipeline` has them.

    Returns:
        The name of the parent run in MLflow.
    """
    prepare_environment()
    check_runner(plan.runs_on)
    _check_shared_module(plan)
    with (
        cluster(plan.runs_on) as found,
        prefect_server(meanwhile=import_the_slow_parts),
        connected_to(found),
    ):
        from flows.support.running import run_leased
        from flows.sweep_flow import sweep as flow

        recorded = run_leased(flow, plan)
        print(
            f"Recorded as run '{recorded}' of experiment '{plan.base['experiment']}', a run nested "
            "in it for each trial. To look at it: make ui"
        )
    return recorded


def _check_shared_module(plan: "Sweep") -> None:
    """Refuse a module of the user's own that is wrong in every trial, for what it is."""
    varied = {key.partition(".")[0] for key in plan.search.parameters}
    if (plan.base.get("model") or {}).get("kind") == "python" and not varied & {"model", "data"}:
        check(plan.first())


if __name__ == "__main__":
    leave(main())
