"""One scheduled run, in a process of its own.

`python -m flows.retraining --scheduled FLOW_RUN_ID`: `make schedule` starts it, and it ends with
it: when standard input closes, the run is interrupted. What is slow to import is imported after
that watch has begun. The first line of the input says whom to notify, as JSON.

`python -m flows.retraining CONFIG`: a Prefect worker starts it, and names the flow run in the
environment. Whom to notify stands in the configuration's file on this machine.
"""

import contextlib
import json
import os
import sys
from typing import Any
from uuid import UUID

from flows.support.command import argument, main, prepare_environment
from flows.support.companion import end_with_starter
from flows.support.running import servers
from plumbline.config.loading import read_yaml, validated
from plumbline.config.running import Notify, RunsOn
from plumbline.errors import InputError
from tasks.lease import lease, only_retraining
from tasks.reconciliation import reconcile
from tasks.screen import note

BY_WORKER = "PREFECT__FLOW_RUN_ID"


def run_retraining(path: str, scheduled: UUID | None) -> None:
    """Run what a flow run of a deployment asks for: the one given, or the one a worker names."""
    prepare_environment()
    if scheduled:
        notify = json.loads(sys.stdin.buffer.readline() or "null")
        end_with_starter()
        retrain(scheduled, notify)
    else:
        retrain(UUID(os.environ[BY_WORKER]), _notify_in(path), by_worker=True)


def _notify_in(path: str) -> dict[str, Any] | None:
    """The section `notify` of a configuration's file on this machine; what is wrong is a note."""
    try:
        section = read_yaml(path).get("notify")
        return section and validated(section, f"{path}: notify", Notify).model_dump(mode="json")
    except InputError as error:
        note(f"nobody will be notified: {error}")
        return None


def retrain(flow_run_id: UUID, notify: dict[str, Any] | None, by_worker: bool = False) -> None:
    """Run what a deployment's flow run asks for, or skip it while its model is being trained.

    Args:
        flow_run_id: of a run that is due.
        notify: the section of our own configuration; the one in the run's parameters counts for
            nothing, since whoever reaches the server can write it.
        by_worker: whether a worker has taken it already.
    """
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows.pipeline import say_where
    from flows.pipeline_flow import pipeline
    from flows.support.ray import on_cluster
    from flows.support.scheduler import model_of, skip, take

    reconcile()  # before a worker's run, nobody else does
    with get_client(sync_client=True) as client, contextlib.ExitStack() as held:
        flow_run = client.read_flow_run(flow_run_id)
        _put_own(notify, flow_run.parameters["config"])
        try:
            held.enter_context(only_retraining(model_of(flow_run)))
        except BlockingIOError as error:
            skip(client, flow_run_id, f"skipped: {error}")
            return
        if take(client, flow_run, held.enter_context(lease(notify)), by_worker):
            held.enter_context(servers(RunsOn.of(flow_run.parameters["config"])))
            recorded = run_flow(on_cluster(pipeline), flow_run=flow_run)
            held.close()  # the lease says whether the record is there
            say_where(recorded, flow_run.parameters["config"]["experiment"])


def _put_own(notify: dict[str, Any] | None, parameters: dict[str, Any]) -> None:
    """Put our own section in the place of the one that came as a run parameter."""
    if parameters.get("notify") not in (None, notify):
        note(
            "notify in the run's parameters is ignored: only what stands in the configuration that "
            "the scheduler or worker read counts"
        )
    parameters["notify"] = notify


if __name__ == "__main__":
    main(
        run_retraining,
        argument("path", metavar="config", nargs="?", default="", help="says whom to notify"),
        argument("--scheduled", type=UUID, metavar="FLOW_RUN_ID", help="by make schedule"),
    )
