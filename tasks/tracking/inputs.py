"""Logs the rows that a run was trained and tested on as MLflow dataset inputs."""

import json
import re
from collections.abc import Callable
from hashlib import sha256

from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from plumbline.config.metrics import METRICS
from plumbline.config.schema import Config
from plumbline.data.sources import Table
from plumbline.linear.dataset import Dataset
from tasks.tracking.run import Run

TRAINING, VALIDATION, TEST = "training", "validation", "test"  # as MLflow calls them
GENERATED = {"mlflow.source.name": "generated rows"}  # the source if there is no file
# What databases say if another run of the experiment has just logged the same rows: MLflow looks
# them up and inserts them in two steps.
TAKEN = re.compile("unique|duplicate", re.IGNORECASE)
DIGEST_LENGTH = 36  # the most that MLflow takes; the tag data_digest has the whole digest


def log_inputs(run: Run, config: Config, data: Dataset) -> Callable[[str], dict[str, str]]:
    """Log the training, validation and test rows as dataset inputs, unless there are none.

    All three are rows of the same files, so the digest of held-out rows includes the split.

    Returns:
        A function from a metric's name to the dataset's name and digest that the metric is of.
    """
    summary, digest = data.summary, data.summary.digest
    split = sha256(f"{digest} {config.data.holding_out!r}".encode()).hexdigest()
    shares = {
        TRAINING: (config.experiment, digest, summary.train.rows),
        VALIDATION: (f"{config.experiment} {VALIDATION}", split, summary.validation.rows),
        TEST: (f"{config.experiment} {TEST}", split, summary.test.rows),
    }
    where = _schema_and_source(config, data)
    found = {
        share: MlflowDataset(
            name, of[:DIGEST_LENGTH], profile=json.dumps({"num_rows": n, "blake3": digest}), **where
        )
        for share, (name, of, n) in shares.items()
        if n
    }
    inputs = [DatasetInput(of, [InputTag(MLFLOW_DATASET_CONTEXT, s)]) for s, of in found.items()]
    try:
        run.client.log_inputs(run.id, inputs)
    except MlflowException as error:
        if not TAKEN.search(str(error)):
            raise
        run.client.log_inputs(run.id, inputs)  # finds what the other run has written

    def links(metric: str) -> dict[str, str]:
        held_out = metric in METRICS and METRICS[metric].needs == "test_fraction"
        of = found[TEST if held_out else TRAINING]
        return {"dataset_name": of.name, "dataset_digest": of.digest}

    return links


def _schema_and_source(config: Config, data: Dataset) -> dict[str, str]:
    types = column_types(data).items()
    columns = [{"type": kind, "name": column, "required": True} for column, kind in types]
    path = config.data.path if config.data.kind == "table" else None
    scheme, remote, _ = (path or "").partition("://")
    return {
        "schema": json.dumps({"mlflow_colspec": columns}),
        "source": json.dumps({"uri": path} if path else {"tags": GENERATED}),
        "source_type": scheme if remote and scheme != "file" else "local" if path else "code",
    }


def column_types(data: Dataset) -> dict[str, str]:
    """MLflow's type of each raw column, with the target last."""
    kinds = data.source.columns.kinds if isinstance(data.source, Table) else {}
    types = {name: "boolean" for name, kind in kinds.items() if kind == "boolean"}
    types |= dict.fromkeys(data.encoding.levels, "string")
    types |= dict.fromkeys(data.encoding.dates, "datetime")
    if data.encoding.classes and kinds.get(data.target, "text") == "text":
        types[data.target] = "string"
    names = (*data.encoding.columns, data.target)
    return {name: types.get(name, "double") for name in names}
