"""One MLflow run, from its creation to an accurate final status."""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from plumbline.config.schema import Config
from tasks.lease import exit_of
from tasks.tracking.experiment import (
    NOTE_TAG,
    describe_ending,
    describe_run,
    description,
    experiment_id,
    headline,
    params_of,
    source_tags,
    unused_name,
)
from tasks.tracking.losses import LossLog
from tasks.tracking.store import (
    FAILURES,
    as_store_error,
    disable_retries,
    if_there,
    open_store,
    runs_where,
    server,
    still_there,
)

LOCAL_UI = "http://127.0.0.1:5000"
LEASE_TAG = "plumbline.lease"
FLOW_TAG = "prefect_flow_run_id"
NUMBER_TAG = "plumbline.trial"  # of a sweep's trial
OWN_TAGS = (LEASE_TAG, NUMBER_TAG)  # together they identify a run
MODEL_PARAM = "registry.model"
SHORTEST_ID = 4  # the fewest digits of a run's id to look for
LONGEST_NAME = 250  # of a metric
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Run:
    """An active run. It uses no active run of MLflow's, so several threads may log to it.

    Attributes:
        client: MLflow's client.
        id: the run's id.
        name: its name in the UI.
        experiment_id: the id of its experiment.
        losses: the log of each epoch's losses, which also knows what a run that is resumed has
            already logged.
    """

    def __init__(self, client: MlflowClient, found: MlflowRun) -> None:
        self.client, self.id, self.name = client, found.info.run_id, found.info.run_name
        self.experiment_id = found.info.experiment_id
        self.losses = LossLog(lambda batch: client.log_batch(self.id, metrics=batch))

    @classmethod
    def begin(
        cls, client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str]
    ) -> "Run":
        """Create a run.

        If a server's answer is lost, the client sends the request again and the server creates a
        second run, which is deleted here.
        """
        run = cls(client, client.create_run(experiment, tags=dict(tags), run_name=name))
        if server():
            own = " and ".join(f"tags.`{tag}` = '{tags[tag]}'" for tag in OWN_TAGS if tag in tags)
            for other in client.search_runs([experiment], own):
                if other.info.run_id != run.id:
                    client.delete_run(other.info.run_id)
        return run

    @classmethod
    def reopen(cls, client: MlflowClient, found: MlflowRun, tags: Mapping[str, str]) -> "Run":
        """Set a run that did not finish to RUNNING again, with new tags and without `reason`."""
        run = cls(client, found)
        run.log(tags=tags)
        client.update_run(run.id, status="RUNNING")
        if "reason" in found.data.tags:
            client.delete_tag(run.id, "reason")
        return run

    @classmethod
    def resume(cls, client: MlflowClient, found: MlflowRun, tags: Mapping[str, str]) -> "Run":
        """Resume an interrupted run; nothing that it logged before is logged again.

        Models that it began to log are deleted, so that it ends with a single, complete one.
        """
        run = cls.reopen(client, found, tags)
        for model in found.outputs.model_outputs if found.outputs else ():
            client.delete_logged_model(model.model_id)
        for name in found.data.metrics:
            history = client.get_metric_history(run.id, name)
            run.losses.known.update((name, metric.step) for metric in history)
        return run

    @property
    def page(self) -> str:
        """The run's URL in MLflow's UI: on the tracking server, or where `make ui` starts one."""
        return f"{server() or LOCAL_UI}/#/experiments/{self.experiment_id}/runs/{self.id}"

    def log(
        self,
        metrics: Mapping[str, float] = NOTHING,
        tags: Mapping[str, object] = NOTHING,
        params: Mapping[str, str] = NOTHING,
        links: Callable[[str], Mapping[str, str]] = lambda metric: {},
    ) -> None:
        """Log final metrics, tags and params, in one call because each call is a transaction.

        Metrics that are not finite are left out. In the names of metrics and tags, characters that
        MLflow does not accept are replaced, and long names are cut. The value of a param that was
        already logged must be the same.

        Args:
            metrics: by name.
            tags: by name.
            params: by name.
            links: from a metric's name to the model_id, dataset_name and dataset_digest that it is
                of.
        """
        now = int(time.time() * 1000)
        named = {_metric_name(key): value for key, value in metrics.items() if math.isfinite(value)}
        new = [name for name in named if (name, 0) not in self.losses.known]
        self.client.log_batch(
            self.id,
            metrics=[Metric(name, named[name], now, 0, **links(name)) for name in new],
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(_metric_name(key), str(value)) for key, value in tags.items()],
        )

    def log_curve(self, name: str, values: Sequence[float]) -> None:
        """Log a metric's values in all epochs at once, after training."""
        now = int(time.time() * 1000)
        curve = [Metric(name, value, now, epoch) for epoch, value in enumerate(values, 1)]
        self.client.log_batch(self.id, curve)

    @contextmanager
    def ending_accurately(self) -> Iterator[None]:
        """End the run with the status that matches how the body ended.

        Raises:
            StoreError: the store was deleted meanwhile.
        """
        with self.ending_on_error(), still_there():
            yield
            self.end("FINISHED")

    @contextmanager
    def ending_on_error(self, ending: Mapping[str, str] | None = None) -> Iterator[None]:
        """End the run if the body raises.

        If the store cannot be reached either, the run is ended when its lease is reconciled.

        Args:
            ending: the status and the reason; default: those of the error.
        """
        try:
            yield
        except BaseException as error:
            if isinstance(error, FAILURES):
                disable_retries()
            with suppress(*FAILURES):
                self.end(**(ending or exit_of(error)))
            raise

    def end(self, status: str, reason: str = "") -> None:
        """Set the description and the reason, if there is one, and then the status."""
        data = self.client.get_run(self.id).data
        ending = describe_ending(status, reason, data.metrics, data.tags.get("epochs_run", ""))
        _, _, what = data.tags.get(NOTE_TAG, "").partition("\n\n")
        tags = {"reason": reason} if reason else {}
        self.log(tags={NOTE_TAG: description(ending, what), **tags})
        self.client.set_terminated(self.id, status)


def _metric_name(key: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", key)[:LONGEST_NAME]


@contextmanager
def tracked_run(
    config: Config, name: str, device: str, flow_run_id: str, lease: str, resumed: str | None = None
) -> Iterator[Run]:
    """Create a run with its params and tags; end it with an accurate status in every case.

    The status is FINISHED, FAILED with the tag `reason` after an exception, or KILLED after an
    interruption. Losses that are still buffered are sent before. The description says how the run
    ended and what it is.

    Args:
        config: the experiment.
        name: the run's name; a number is added if the experiment already has a run of that name.
        device: the device that it trains on.
        flow_run_id: Prefect's id of the flow run.
        lease: the name of the lease that this process holds.
        resumed: the id of an interrupted run to resume instead of creating one.
    """
    with as_store_error():
        client = open_store()
        note = description("Running.", describe_run(config, device, flow_run_id))
        tags = {LEASE_TAG: lease, FLOW_TAG: flow_run_id, NOTE_TAG: note}
        if resumed:
            run = Run.resume(client, client.get_run(resumed), tags)
        else:
            experiment = experiment_id(client, config.experiment, headline(config))
            unused = unused_name(client, experiment, name)
            run = Run.begin(client, experiment, unused, tags | source_tags())
        with run.ending_accurately():
            run.log(params=params_of(config, device))
            with run.losses.sending():
                yield run


def runs_by_id(text: str) -> list[MlflowRun]:
    """Up to three runs whose ids begin with a text; none if it has under SHORTEST_ID digits."""
    if not re.fullmatch(f"[0-9a-f]{{{SHORTEST_ID},32}}", text):
        return []
    return runs_where(f"attributes.run_id LIKE '{text}%'", max_results=3)


def unfinished(run_id: str) -> MlflowRun | None:
    """The run of an id; None if it is FINISHED, deleted or not in the store."""
    run = if_there(open_store().get_run, run_id)
    over = run is None or run.info.status == "FINISHED" or run.info.lifecycle_stage == "deleted"
    return None if over else run


def end_runs(lease: str, status: str, reason: str) -> set[str]:
    """End the runs of a dead process that are still RUNNING.

    Returns:
        The names of the registered models that its runs trained.
    """
    client = open_store()
    found = runs_where(f"tags.`{LEASE_TAG}` = '{lease}'")
    for run in found:
        if run.info.status == "RUNNING":
            Run(client, run).end(status, reason)
    return {run.data.params[MODEL_PARAM] for run in found if MODEL_PARAM in run.data.params}
