"""One MLflow run from its beginning to a status that is true."""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from plumbline.config.schema import Config
from tasks.lease import exit_of
from tasks.tracking.experiment import (
    NOTE_TAG,
    description,
    experiment_id,
    headline,
    how_it_ended,
    params_of,
    source_tags,
    unused_name,
    what_it_is,
)
from tasks.tracking.losses import LossLog
from tasks.tracking.store import (
    FAILURES,
    as_store_error,
    disable_retries,
    if_there,
    open_store,
    server,
    still_there,
)

LOCAL_UI = "http://127.0.0.1:5000"
LEASE_TAG = "plumbline.lease"
FLOW_TAG = "prefect_flow_run_id"
NUMBER_TAG = "plumbline.trial"  # of a sweep's trial
OWN_TAGS = (LEASE_TAG, NUMBER_TAG)  # they distinguish a run from every other run
MODEL_PARAM = "registry.model"
SHORTEST_ID = 4  # of a run, or of its beginning
LONGEST_NAME = 250  # of a metric


class Run:
    """A run under way. All calls name it, so threads may share it.

    Attributes:
        id: MLflow's id of the run.
        name: its name in the UI.
        experiment_id: MLflow's id of its experiment.
        known: metrics that the store has already, of a run that is resumed.
        losses: where the loss of every epoch goes.
    """

    def __init__(self, client: MlflowClient, found: MlflowRun) -> None:
        self.client, self.id, self.name = client, found.info.run_id, found.info.run_name
        self.experiment_id = found.info.experiment_id
        self.known: frozenset[str] = frozenset()
        self.losses = LossLog(lambda batch: client.log_batch(self.id, metrics=batch))

    @classmethod
    def begin(
        cls, client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str]
    ) -> "Run":
        """Begin a run.

        If a server's answer is lost the client asks again, and the server begins a second run: that
        one is deleted.
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
        """Let a run that ended badly be RUNNING again, with other tags and without its reason."""
        run = cls(client, found)
        run.log(tags=tags)
        client.update_run(run.id, status="RUNNING")
        if "reason" in found.data.tags:
            client.delete_tag(run.id, "reason")
        return run

    @classmethod
    def resume(cls, client: MlflowClient, found: MlflowRun, tags: Mapping[str, str]) -> "Run":
        """Let a run go on that was interrupted: what the store has of it is left as it is.

        Models that were begun are deleted: the run is to have one, whole.
        """
        run = cls.reopen(client, found, tags)
        run.known = frozenset(found.data.metrics)
        for model in found.outputs.model_outputs if found.outputs else ():
            client.delete_logged_model(model.model_id)
        for name in run.known:
            history = client.get_metric_history(run.id, name)
            run.losses.known.update((name, metric.step) for metric in history)
        return run

    @property
    def page(self) -> str:
        """Where MLflow's UI shows it: on the tracking server, or where `make ui` opens one."""
        return f"{server() or LOCAL_UI}/#/experiments/{self.experiment_id}/runs/{self.id}"

    def log(
        self,
        metrics: Mapping[str, float] = MappingProxyType({}),
        tags: Mapping[str, object] = MappingProxyType({}),
        params: Mapping[str, str] = MappingProxyType({}),
        links: Callable[[str], Mapping[str, str]] = lambda metric: {},
    ) -> None:
        """Log final values, tags and params; in one call, because each costs a transaction.

        The links say what each metric is of: model_id, dataset_name and dataset_digest.

        Metrics that are no finite number are left out; characters that MLflow does not take in
        their names are replaced, and long names are cut. A param that is there already must have
        the same value.
        """
        now = int(time.time() * 1000)
        named = {_metric_name(key): value for key, value in metrics.items() if math.isfinite(value)}
        named = {key: value for key, value in named.items() if key not in self.known}
        self.client.log_batch(
            self.id,
            metrics=[Metric(key, value, now, 0, **links(key)) for key, value in named.items()],
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(_metric_name(key), str(value)) for key, value in tags.items()],
        )

    def log_curve(self, name: str, values: Sequence[float]) -> None:
        """Log a metric of every epoch at once when training is over."""
        now = int(time.time() * 1000)
        curve = [Metric(name, value, now, epoch) for epoch, value in enumerate(values, 1)]
        self.client.log_batch(self.id, curve)

    @contextmanager
    def ending_accurately(self) -> Iterator[None]:
        """Give the run the status that says how the body ended.

        Raises:
            StoreError: the store was deleted meanwhile.
        """
        with self.ending_on_error(), still_there():
            yield
            self.end("FINISHED")

    @contextmanager
    def ending_on_error(self, ending: Mapping[str, str] | None = None) -> Iterator[None]:
        """End the run if the body does not end well; if the store is away, the lease will.

        Args:
            ending: its status and reason; default: what the error says.
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
        """Set the status, last of all, after the description and, if there is one, the reason."""
        data = self.client.get_run(self.id).data
        ending = how_it_ended(status, reason, data.metrics, data.tags.get("epochs_run", ""))
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
    """Begin a run with its params and tags; end it with a true status, whatever happens.

    FINISHED; FAILED with the tag `reason` for an exception; KILLED for an interruption. Losses
    logged so far are sent first in all cases. The description says how it ended and what it was.

    Args:
        name: what the run is called; a number is added where the experiment has that name already.
        resumed: the id of the interrupted run to go on with instead of beginning one.
    """
    with as_store_error():
        client = open_store()
        note = description("Running.", what_it_is(config, device, flow_run_id))
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


def runs_by_id(client: MlflowClient, text: str) -> list[MlflowRun]:
    """The runs of all experiments whose ids begin so; none for fewer than SHORTEST_ID digits."""
    if not re.fullmatch(f"[0-9a-f]{{{SHORTEST_ID},32}}", text):
        return []
    everywhere = [each.experiment_id for each in client.search_experiments()]
    return client.search_runs(everywhere, f"attributes.run_id LIKE '{text}%'", max_results=3)


def unfinished(run_id: str) -> MlflowRun | None:
    """The run, if the store has it and it is not FINISHED or deleted."""
    run = if_there(open_store().get_run, run_id)
    over = run is None or run.info.status == "FINISHED" or run.info.lifecycle_stage == "deleted"
    return None if over else run


def end_runs(lease: str, status: str, reason: str) -> set[str]:
    """Give the running runs of a dead process a status.

    Returns:
        The registered models that its runs were to add a version to.
    """
    client = open_store()
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`{LEASE_TAG}` = '{lease}'",
        output_format="list",
    )
    for run in found:
        if run.info.status == "RUNNING":
            Run(client, run).end(status, reason)
    return {run.data.params[MODEL_PARAM] for run in found if MODEL_PARAM in run.data.params}
