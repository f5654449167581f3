"""The flow of a sweep: what happens, in order."""

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from plumbline.config.sweep import Sweep
from tasks.cluster import cores
from tasks.lease import held_lease
from tasks.search import ahead_of
from tasks.shared_data import SharedData
from tasks.sweep_recording import SweepRecorder, conclude
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
