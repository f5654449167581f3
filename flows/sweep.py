"""make sweep: run many configurations. `python -m flows.sweep CONFIG [key=value ...]`

This file is the command; the flow is in flows/sweep_flow.py.
"""

from collections.abc import Sequence
from contextlib import nullcontext, suppress

from flows.pipeline import check
from flows.support.command import CONFIG, main, prepare_environment
from flows.support.running import run_leased, servers
from plumbline.config.loading import validated
from plumbline.config.reference import as_text
from plumbline.config.running import RunsOn
from plumbline.config.sweep import Sweep, SweepFile, load_sweep
from plumbline.errors import InputError

BASE = "  base: the path of an experiment, relative to this file, which may hold its keys instead\n"


def run_sweep(path: str, overrides: Sequence[str]) -> None:
    """Run many configurations: one parent run, a nested run for each trial."""
    sweep(load_sweep(path, overrides))


def sweep(plan: Sweep) -> str:
    """Run the flow once and print where to find its record.

    The Prefect server and the MLflow store are chosen as in `flows.pipeline.pipeline`.

    Returns:
        The name of the parent run in MLflow.
    """
    prepare_environment()
    plan = _checked(plan)
    with servers(validated(plan.base, plan.name, RunsOn)):
        from flows.sweep_flow import sweep as flow

        recorded = run_leased(flow, plan)
        print(
            f"Recorded as run '{recorded}' of experiment '{plan.base['experiment']}', with a "
            "nested run for each trial. To look at it: make ui"
        )
    return recorded


def _checked(plan: Sweep) -> Sweep:
    """Refuse a user's module that would fail in every trial. Return the sweep, its metric chosen by
    the type of the target."""
    from plumbline.data.inputs import has_classes

    first, classes = plan.first(), False
    varied = {key.partition(".")[0] for key in plan.search.parameters}
    if first.model.kind == "python" and not varied & {"model", "data"}:
        check(first)
    # if the data vary, each trial reports errors of its own data
    with suppress(InputError) if "data" in varied else nullcontext():
        classes = has_classes(first.data)
    return plan.of_target(classes)


if __name__ == "__main__":
    main(run_sweep, *CONFIG, keys=BASE + as_text(SweepFile))
