"""The flow of a sweep: what happens, in order."""

from prefect import flow, tags
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.support.ray import on_cluster
from plumbline.config.sweep import Sweep
from tasks.cluster import cores
from tasks.lease import held_lease, lease
from tasks.reconciliation import reconcile
from tasks.search import ahead_of
from tasks.shared_data import SharedData
from tasks.sweep_recording import SweepRecorder, conclude
from tasks.tracking.store import check_store
from tasks.tracking.sweep import tracked_sweep
from tasks.trials import run_trials


@flow(
    name="sweep",
    flow_run_name="{plan.base[experiment]}: {plan.title}",
    task_runner=ThreadPoolTaskRunner(ahead_of("grid", cores())),
)
def sweep(plan: Sweep) -> str:
    """Try many configurations and record them. Returns the parent run's name."""
    with tracked_sweep(plan, flow_run.get_id(), held_lease()) as tracked:
        data = SharedData(plan)
        recorder = SweepRecorder(plan, tracked, data)
        for trial in run_trials(plan, data, known=tracked.trials):
            recorder.add(trial)
        conclude(recorder)
    return tracked.run.name


def run(plan: Sweep) -> None:
    """Run the flow here and say where to look."""
    check_store()
    reconcile()
    with lease() as name, tags(name), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        recorded = on_cluster(sweep)(plan)
    print(
        f"Recorded as run '{recorded}' of experiment '{plan.base['experiment']}', a run nested in "
        "it for each trial. To look at it: make ui"
    )
