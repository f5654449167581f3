"""One scheduled run, in a process of its own.

`python -m flows.retraining --scheduled FLOW_RUN_ID`: `make schedule` starts it, and it ends with
it: when standard input closes, the run is interrupted. What is slow to import is imported after
that watch has begun. The first line of the input is what counts of our own configuration, as JSON.

`python -m flows.retraining CONFIG`: a Prefect worker starts it, and names the flow run in the
environment. Whom to notify, and the file of a module of the user's own, stand in the
configuration's file on this machine.
"""

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any
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

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

BY_WORKER = "PREFECT__FLOW_RUN_ID"


def run_retraining(path: str, scheduled: UUID | None) -> None:
    """Run what a flow run of a deployment asks for: the one given, or the one a worker names."""
    prepare_environment()
    if scheduled:
        own = json.loads(sys.stdin.buffer.readline() or "{}")
        end_with_starter()
        retrain(scheduled, own)
    else:
        retrain(UUID(os.environ[BY_WORKER]), _own_in(path), by_worker=True)


def _own_in(path: str) -> dict[str, Any]:
    """`notify` and `model` of a configuration's file on this machine; what is wrong is a note."""
    try:
        whole = read_yaml(path)
        section = whole.get("notify")
        notify = section and validated(section, f"{path}: notify", Notify).model_dump(mode="json")
        return {"notify": notify, "model": whole.get("model")}
    except InputError as error:
        note(f"nobody will be notified: {error}")
        return {}


def retrain(flow_run_id: UUID, own: dict[str, Any], by_worker: bool = False) -> None:
    """Run what a deployment's flow run asks for, or skip it: its model is being trained, or it was
    planned to look at the files and there is nothing new.

    Args:
        flow_run_id: of a run that is due.
        own: `notify` and `model` of our own configuration: whom the run's parameters name, and
            which file of code, counts for nothing, since whoever reaches the server can write it.
        by_worker: whether a worker has taken it already.
    """
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows.pipeline import say_where
    from flows.pipeline_flow import pipeline
    from flows.support.deployment import NOTHING_NEW, finds_nothing_new
    from flows.support.ray import on_cluster
    from flows.support.scheduler import model_of, skip, take

    reconcile()  # before a worker's run, nobody else does
    with get_client(sync_client=True) as client, contextlib.ExitStack() as held:
        flow_run = client.read_flow_run(flow_run_id)
        put_own(own, flow_run.parameters["config"])
        try:
            held.enter_context(only_retraining(model_of(flow_run)))
        except BlockingIOError as error:
            skip(client, flow_run_id, f"skipped: {error}")
            return
        if finds_nothing_new(client, flow_run):
            skip(client, flow_run_id, NOTHING_NEW)
            return
        flow_run.parameters["resumed"] = _lost(client, flow_run.parameters["config"])
        if take(client, flow_run, held.enter_context(lease(own.get("notify"))), by_worker):
            held.enter_context(servers(RunsOn.model_validate(flow_run.parameters["config"])))
            recorded = run_flow(on_cluster(pipeline), flow_run=flow_run)
            held.close()  # the lease says whether the record is there
            say_where(recorded, flow_run.parameters["config"]["experiment"])


def _lost(client: "SyncPrefectClient", parameters: dict[str, Any]) -> str | None:
    """The id of a run of the same experiment and files that was interrupted, but not cancelled."""
    from prefect.exceptions import ObjectNotFound

    from tasks.resuming import interrupted_like

    found = interrupted_like(parameters)
    if found is None:
        return None
    try:
        state = client.read_flow_run(UUID(found.flow_run)).state
    except ObjectNotFound:  # another server's, or its history was deleted
        return found.id
    return None if state.is_cancelling() or state.is_cancelled() else found.id


def put_own(own: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Put what runs code or reads the environment as our own configuration has it in the place of
    what came as a run parameter."""
    notify, model = own.get("notify"), own.get("model") or {}
    asked = parameters.get("model") or {}
    ignored = [] if parameters.get("notify") in (None, notify) else ["notify"]
    if "file" in asked and asked["file"] != model.get("file"):
        ignored.append("model")
        parameters["model"] = model or {"kind": "linear"}
    parameters["notify"] = notify
    if ignored:
        note(
            f"{' and '.join(ignored)} in the run's parameters is ignored: only what stands in the "
            "configuration that the scheduler or worker read counts"
        )


if __name__ == "__main__":
    main(
        run_retraining,
        argument(
            "path", metavar="config", nargs="?", default="", help="its notify and model.file count"
        ),
        argument("--scheduled", type=UUID, metavar="FLOW_RUN_ID", help="by make schedule"),
    )
