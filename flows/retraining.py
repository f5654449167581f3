"""Run one scheduled retraining in a process of its own.

`python -m flows.retraining --scheduled FLOW_RUN_ID` is started by `make schedule`. The run is
interrupted when standard input closes, because then the scheduler has ended; slow modules are
imported only once this is watched. The first line of standard input holds the sections `notify` and
`model` of the scheduler's configuration, as JSON.

`python -m flows.retraining CONFIG` is started by a Prefect worker, which names the flow run in the
environment. The sections `notify` and `model` are read from the configuration file on this machine.
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

FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"  # set by workers


def run_retraining(path: str, scheduled: UUID | None) -> None:
    """Execute a flow run of a deployment: the given one, or the one that a worker names."""
    prepare_environment()
    if scheduled:
        local = json.loads(sys.stdin.buffer.readline() or "{}")
        end_with_starter()
        retrain(scheduled, local)
    else:
        retrain(UUID(os.environ[FLOW_RUN_VARIABLE]), _read_local(path), by_worker=True)


def _read_local(path: str) -> dict[str, Any]:
    """Read `notify` and `model` from a configuration file here; if they are wrong, print a note."""
    try:
        whole = read_yaml(path)
        section = whole.get("notify")
        notify = section and validated(section, f"{path}: notify", Notify).model_dump(mode="json")
        return {"notify": notify, "model": whole.get("model")}
    except InputError as error:
        note(f"nobody will be notified: {error}")
        return {}


def retrain(flow_run_id: UUID, local: dict[str, Any], by_worker: bool = False) -> None:
    """Execute a deployment's flow run. Skip it if its model is being trained already, or if it
    trains only on changed files and none has changed.

    Args:
        flow_run_id: the id of a flow run that is due.
        local: the sections `notify` and `model` of the configuration on this machine. They replace
            those in the run's parameters, which anybody who reaches the server can write.
        by_worker: whether a worker has claimed the run already.
    """
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows.pipeline import say_where
    from flows.pipeline_flow import pipeline
    from flows.support.deployment import NOTHING_NEW, finds_nothing_new
    from flows.support.ray import on_cluster
    from flows.support.scheduler import claim, model_of, skip

    reconcile()  # for a worker's run, which has no scheduler
    with get_client(sync_client=True) as client, contextlib.ExitStack() as held:
        flow_run = client.read_flow_run(flow_run_id)
        apply_local(local, flow_run.parameters["config"])
        try:
            held.enter_context(only_retraining(model_of(flow_run)))
        except BlockingIOError as error:
            skip(client, flow_run_id, f"skipped: {error}")
            return
        if finds_nothing_new(client, flow_run):
            skip(client, flow_run_id, NOTHING_NEW)
            return
        flow_run.parameters["resumed"] = _resumable(client, flow_run.parameters["config"])
        if claim(client, flow_run, held.enter_context(lease(local.get("notify"))), by_worker):
            held.enter_context(servers(RunsOn.model_validate(flow_run.parameters["config"])))
            recorded = run_flow(on_cluster(pipeline), flow_run=flow_run)
            held.close()  # the lease raises if its folder, and so the record, was deleted
            say_where(recorded, flow_run.parameters["config"]["experiment"])


def _resumable(client: "SyncPrefectClient", parameters: dict[str, Any]) -> str | None:
    """The id of a run of the same experiment and files that was interrupted but not cancelled."""
    from prefect.exceptions import ObjectNotFound

    from tasks.resuming import interrupted_like

    found = interrupted_like(parameters)
    if found is None:
        return None
    try:
        state = client.read_flow_run(UUID(found.flow_run)).state
    except ObjectNotFound:  # it is on another server, or Prefect's history was deleted
        return found.id
    return None if state.is_cancelling() or state.is_cancelled() else found.id


def apply_local(local: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Replace the run parameters that run code or read the environment by the values of the
    configuration on this machine."""
    notify, model = local.get("notify"), local.get("model") or {}
    asked = parameters.get("model") or {}
    ignored = [] if parameters.get("notify") in (None, notify) else ["notify"]
    if "file" in asked and asked["file"] != model.get("file"):
        ignored.append("model")
        parameters["model"] = model or {"kind": "linear"}
    parameters["notify"] = notify
    if ignored:
        note(
            f"{' and '.join(ignored)} in the run's parameters is ignored: only the configuration "
            "file that the scheduler or worker read can set it"
        )


if __name__ == "__main__":
    main(
        run_retraining,
        argument(
            "path",
            metavar="config",
            nargs="?",
            default="",
            help="the file from which notify and model are read",
        ),
        argument(
            "--scheduled", type=UUID, metavar="FLOW_RUN_ID", help="only for make schedule itself"
        ),
    )
