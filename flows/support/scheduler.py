"""The scheduler of `make schedule`: it starts the runs of a deployment here, one at a time."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.objects import Deployment
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Pending

from flows.support.command import may_pass
from flows.support.companion import PATIENCE_SECONDS, start_companion
from flows.support.deployment import Watch, deploy, suspend
from flows.support.server import Server
from plumbline.config.schema import Config
from plumbline.errors import InputError
from tasks.lease import only_retraining
from tasks.notifying import tell
from tasks.reconciliation import REASON, reconcile
from tasks.screen import note
from tasks.tracking.store import check_store, open_store

MISSED = "missed: nothing could start it when it was due; at most one such run catches up"
UNDER_WAY = "skipped: the previous run was still under way"
LEAVE_SECONDS = 3.0
STEP_SECONDS = 1.0


def model_of(flow_run: FlowRun) -> str | None:
    """The registered model that a flow run of the deployment trains."""
    try:
        return flow_run.parameters["config"]["registry"]["model"]
    except (KeyError, TypeError):  # it registers none, or the flow will refuse its parameters
        return None


def skip(client: SyncPrefectClient, flow_run_id: UUID, reason: str) -> None:
    """Skip a run: its state in Prefect becomes Cancelled, with the name Skipped."""
    client.set_flow_run_state(flow_run_id, Cancelled(name="Skipped", message=reason))


def claim(client: SyncPrefectClient, flow_run: FlowRun, lease_name: str, by_worker: bool) -> bool:
    """Tag a flow run with the lease and claim it by making it Pending.

    The server refuses a second Pending, so each run happens once. A worker has already made its run
    Pending.

    Returns:
        Whether it was claimed; False if another process was faster.
    """
    if not (by_worker or flow_run.state.is_scheduled()):
        return False
    client.update_flow_run(flow_run.id, tags=[*flow_run.tags, lease_name])
    return by_worker or (
        client.set_flow_run_state(flow_run.id, Pending()).status == SetStateStatus.ACCEPT
    )


def serve(config: Config, name: str, server: Server, check: Callable[[], None]) -> None:
    """Create the deployment and start its runs until interrupted.

    Args:
        config: with a schedule.
        name: of the deployment.
        server: the Prefect server of the deployment.
        check: raises OSError if a second scheduler is no longer locked out.
    """
    check_store()
    open_store()  # now, because reconciling at the end has little time
    with get_client(sync_client=True) as client:
        deployment = deploy(client, config, name)
        scheduler = Scheduler(client, deployment, server, config)
        _print_introduction(config, deployment, server)
        try:
            _run_steps(server, scheduler, check)
        finally:
            scheduler.stop()


def _print_introduction(config: Config, deployment: Deployment, server: Server) -> None:
    times = config.schedule
    when = f"every {times.every:g} seconds" if times.every else f"{times.cron} {times.timezone}"
    if times.on_change:
        pause = f"at most every {times.at_most_every:g} seconds"
        when = f"when files of {config.data.path} arrive or change, {pause}"
    print(f"Retraining of '{deployment.name}': {when}")
    print(f"Prefect: {server.address}   pause, resume, start or cancel a run there")
    if deployment.paused or not all(schedule.active for schedule in deployment.schedules):
        note("the schedule is paused; resume it there")
    print("Ctrl-C stops it.", flush=True)


def _run_steps(server: Server, scheduler: "Scheduler", check: Callable[[], None]) -> None:
    """Step until interrupted. A temporary error, such as a server that is down, is printed once and
    the next step tries again; any other error is raised, because it would recur.
    """
    said = ""
    while True:
        check()
        try:
            server.keep()
            scheduler.step()
            said = ""
        except Exception as error:
            if not may_pass(error):
                raise
            before, said = said, f"{type(error).__name__}: {error}"
            if said != before:
                note(f"the schedule waits, because {said}")
        time.sleep(STEP_SECONDS)


class Scheduler:
    """Supervises the active run and starts the run that is due, once a step.

    Its `notify` and `model` sections come from the configuration that this command read.
    """

    def __init__(
        self, client: SyncPrefectClient, deployment: Deployment, server: Server, config: Config
    ) -> None:
        self._client, self._deployment, self._server = client, deployment, server
        on_change = config.schedule.on_change
        self._watch = Watch(client, deployment, config) if on_change else None
        self._own = config.model_dump(mode="json", include={"notify", "model"})
        self._run: FlowRun | None = None  # the active run, and its process:
        self._process: subprocess.Popen | None = None

    def step(self) -> None:
        """Supervise the active run, then start the newest run that is due and skip the others.

        Several runs are due if nothing could start them for a while. A run that is due while
        another is active need not wait, because the next one reads the same data.

        Raises:
            InputError: the deployment was deleted in Prefect.
        """
        reconcile()
        if self._run:
            self._supervise_run()
        else:
            self._check_deployment()
            if self._watch:
                self._watch.look()
        *missed, newest = self._due() or [None]
        for flow_run in missed:
            self._skip(flow_run, UNDER_WAY if self._run else MISSED)
        if newest and self._run:
            self._skip(newest, UNDER_WAY)
        elif newest:
            self._start(newest)

    def stop(self) -> None:
        """Interrupt the active run and clean up briefly; the next start does the rest."""
        if self._run:
            self._interrupt()
        wait([ThreadPoolExecutor(1).submit(self._leave)], LEAVE_SECONDS)

    def _leave(self) -> None:
        if self._server.process:  # a team's server may have another machine with this schedule
            suspend(self._client, self._deployment.id)
        reconcile()

    def _due(self) -> list[FlowRun]:
        # as Prefect's runners do: the call also marks the deployment as ready
        found = self._client.get_scheduled_flow_runs_for_deployments(
            [self._deployment.id], scheduled_before=datetime.now(UTC)
        )
        return [flow_run for flow_run in found if not self._run or flow_run.id != self._run.id]

    def _check_deployment(self) -> None:
        try:
            self._client.read_deployment(self._deployment.id)
        except ObjectNotFound:
            raise InputError(
                f"the deployment 'pipeline/{self._deployment.name}' was deleted in Prefect, so no "
                "run would start any more. To create it anew, run the same command again."
            ) from None

    def _skip(self, flow_run: FlowRun, reason: str) -> None:
        skip(self._client, flow_run.id, reason)
        due = flow_run.expected_start_time.astimezone()
        say(f"Retraining '{flow_run.name}', due {due:%Y-%m-%d %H:%M:%S}, {reason}")

    def _start(self, flow_run: FlowRun) -> None:
        """Start the run in a process that ends with this one, and send it the sections that only
        this configuration may set."""
        try:
            with only_retraining(model_of(flow_run)):
                pass
        except BlockingIOError as error:
            self._skip(flow_run, f"skipped: {error}")
            return
        say(f"A retraining of '{self._deployment.name}' starts.")
        server = self._server.process
        self._process = start_companion(
            *("flows.retraining", "--scheduled", str(flow_run.id)),
            cwd=Path.cwd(),  # the configuration's paths are relative to it
            # keeps the server running until the run's last state is written
            pass_fds=[server.stdin.fileno()] if server else [],
        )
        self._process.stdin.write(json.dumps(self._own).encode() + b"\n")
        self._process.stdin.flush()
        self._run = flow_run

    def _supervise_run(self) -> None:
        """Interrupt the run if it was cancelled or deleted in Prefect; set its state once it has
        ended."""
        try:
            state = self._client.read_flow_run(self._run.id).state
        except ObjectNotFound:
            self._interrupt()
            say(f"Retraining '{self._run.name}' was interrupted: it was deleted in Prefect.")
            self._run = None
            return
        cancelled = state.is_cancelling() or state.is_cancelled()
        if cancelled:
            self._interrupt()
        if self._process.poll() is not None:
            self._end_what_it_started()
            reconcile()
            self._set_final_state(cancelled)
            self._run = None

    def _interrupt(self) -> None:
        """Ask the run to end by closing its input; kill it if it does not end in time."""
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_SECONDS + 0.5)
        self._end_what_it_started()

    def _end_what_it_started(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _set_final_state(self, cancelled: bool) -> None:
        """Give a run whose process has ended a final state, if it has none."""
        flow_run = self._client.read_flow_run(self._run.id)
        state = flow_run.state
        if cancelled and not state.is_cancelled():
            state = Cancelled(message="cancelled in Prefect")
        elif state.is_scheduled():  # its process ended before it could claim the run
            state = Crashed(message=REASON)
            tell(self._own["notify"], flow_run, state)
        if state is not flow_run.state:
            self._client.set_flow_run_state(flow_run.id, state, force=True)
        say(f"Retraining '{flow_run.name}' ended: {state.name}. {state.message or ''}".strip())


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}", flush=True)
