"""make sweep: run many configurations. `python -m flows.sweep CONFIG [key=value ...]`

This file is the command; the flow is in flows/sweep_flow.py.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.pipeline import check
from flows.support.command import CONFIG, main, prepare_environment
from flows.support.running import run_leased, servers
from plumbline.config.reference import as_text

if TYPE_CHECKING:
    from plumbline.config.sweep import Sweep


def run_sweep(path: str, overrides: Sequence[str]) -> None:
    """Run many configurations: one parent run, a nested run for each trial."""
    from plumbline.config.sweep import load_sweep

    sweep(load_sweep(path, overrides))


def sweep(plan: "Sweep") -> str:
    """Run the flow once and say where to look, with servers as `flows.pipeline.pipeline` has them.

    Returns:
        The name of the parent run in MLflow.
    """
    prepare_environment()
    _check_shared_module(plan)
    with servers(plan.runs_on):
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
    from plumbline.config.sweep import SweepFile

    BASE = "  base: the path of an experiment, relative to this file; or that experiment's keys\n"
    main(run_sweep, *CONFIG, keys=BASE + as_text(SweepFile))
