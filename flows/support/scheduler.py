"""The scheduler: starts the runs that are due, one at a time, and sees each to its end."""

import contextlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.objects import Deployment
from prefect.states import Cancelled, Crashed

from flows.support.companion import PATIENCE_SECONDS, start_companion
from flows.support.deployment import model_of, skip
from flows.support.persistent_server import PersistentServer
from tasks.lease import only_retraining
from tasks.notifying import tell
from tasks.reconciliation import REASON, reconcile

MISSED = "missed: it came due while nothing could start it; at most one such run catches up"
UNDER_WAY = "skipped: the run before it was still under way"


@dataclass
class Retraining:
    """A scheduled run under way."""

    flow_run_id: UUID
    process: subprocess.Popen
    cancelled: bool = False

    @classmethod
    def start(cls, flow_run_id: UUID, server: PersistentServer, notify: Any) -> "Retraining":
        """Start a process that ends when this one does; it is told whom to notify."""
        process = start_companion(
            *("flows.retraining", "--scheduled", str(flow_run_id)),
            pass_fds=server.pipe,  # the server lives until the run's last state is written
        )
        process.stdin.write(json.dumps(notify).encode() + b"\n")
        process.stdin.flush()
        return cls(flow_run_id, process)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def interrupt(self) -> None:
        """Ask it to end; end it and what it started where its patience runs out."""
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_SECONDS + 0.5)
        self.clear()

    def clear(self) -> None:
        """End what it started and did not end itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Scheduler:
    """Looks, once a step, at the run under way and at what is due.

    Args:
        notify: the section of the configuration that this command read.

    Attributes:
        running: the run under way, if any.
    """

    def __init__(
        self,
        client: SyncPrefectClient,
        deployment: Deployment,
        server: PersistentServer,
        notify: dict[str, Any] | None,
    ) -> None:
        self._client, self._deployment, self._server = client, deployment, server
        self._notify = notify
        self.running: Retraining | None = None

    def step(self) -> None:
        """Look after the run under way, then start the newest run that is due and skip the others.

        Runs that came due while nothing could start them are more than one; a run that comes due
        while another is under way has nothing to wait for, because the next one reads its data.
        """
        reconcile()
        self._look_after_the_running()
        *missed, newest = self._due() or [None]
        for flow_run in missed:
            self._skip(flow_run, UNDER_WAY if self.running else MISSED)
        if newest and self.running:
            self._skip(newest, UNDER_WAY)
        elif newest:
            self._start(newest)

    def stop(self) -> None:
        """Interrupt the run under way."""
        if self.running:
            self.running.interrupt()

    def _due(self) -> list[FlowRun]:
        # the call of Prefect's own runners: it also shows the deployment as ready
        found = self._client.get_scheduled_flow_runs_for_deployments(
            [self._deployment.id], scheduled_before=datetime.now(UTC)
        )
        starting = self.running.flow_run_id if self.running else None
        return [flow_run for flow_run in found if flow_run.id != starting]

    def _start(self, flow_run: FlowRun) -> None:
        try:
            with only_retraining(model_of(flow_run)):
                pass
        except BlockingIOError as error:
            self._skip(flow_run, f"skipped: {error}")
            return
        say(f"Retraining '{flow_run.name}' starts.")
        self.running = Retraining.start(flow_run.id, self._server, self._notify)

    def _skip(self, flow_run: FlowRun, reason: str) -> None:
        skip(self._client, flow_run.id, reason)
        due = flow_run.expected_start_time.astimezone()
        say(f"Retraining '{flow_run.name}', due {due:%Y-%m-%d %H:%M:%S}, {reason}")

    def _look_after_the_running(self) -> None:
        running = self.running
        if running is None:
            return
        if not running.ended:
            state = self._client.read_flow_run(running.flow_run_id).state
            if state.is_cancelling() or state.is_cancelled():
                running.cancelled = True
                running.interrupt()
        if running.ended:
            running.clear()
            reconcile()
            self._conclude(running)
            self.running = None

    def _conclude(self, running: Retraining) -> None:
        """Give a run whose process has ended a state that says so, where it has none."""
        flow_run = self._client.read_flow_run(running.flow_run_id)
        state = flow_run.state
        if running.cancelled:
            state = Cancelled(message="cancelled in Prefect")
        elif state.is_scheduled():  # it ended before it could take the run
            state = Crashed(message=REASON)
            tell(self._notify, flow_run, state)
        if state is not flow_run.state:
            self._client.set_flow_run_state(flow_run.id, state, force=True)
        say(f"Retraining '{flow_run.name}' ended: {state.name}. {state.message or ''}".strip())


def say(text: str) -> None:
    """A line with the time."""
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}", flush=True)
