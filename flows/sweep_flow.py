"""The Prefect flow of a sweep."""

from prefect import flow
from prefect.runtime import flow_run

from plumbline.config.sweep import Sweep
from tasks.lease import held_lease
from tasks.sweep_recording import add, conclude
from tasks.tracking.sweep import tracked_sweep
from tasks.trials import run_trials


@flow(name="sweep", flow_run_name="{plan.base[experiment]}: {plan.title}")
def sweep(plan: Sweep) -> str:
    """Try many configurations and record them. Returns the parent run's name."""
    with tracked_sweep(plan, flow_run.get_id(), held_lease()) as tracked:
        for trial in run_trials(plan, tracked.trials, again=tracked.best_recorded):
            add(tracked, trial)
        conclude(tracked)
    return tracked.run.name
