"""The rows that a run is of, as MLflow has them."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.types.schema import ColSpec, Schema

from plumbline.config.schema import Config
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
from tasks.tracking.inputs import log_inputs
from tasks.tracking.run import Run, tracked_run
from tests.plumbline.tools import opened, write

ROWS = {"on": [True, False] * 20, "x": range(40), "g": ["a", "b"] * 20, "y": [1.5, 2] * 20}
TYPES = {"on": "boolean", "x": "double", "g": "string", "y": "double"}
SOURCES = {
    "data/norris.csv": ("local", "LocalArtifactDatasetSource"),
    "file:///data/a.csv": ("local", "LocalArtifactDatasetSource"),
    "s3://bucket/prefix": ("s3", "S3ArtifactDatasetSource"),
    None: ("code", "CodeDatasetSource"),
}


@pytest.mark.parametrize(("path", "kind"), SOURCES.items())
def test_training_and_held_out_rows_are_inputs_with_their_source_and_types(
    client: MlflowClient, tmp_path: Path, path: str | None, kind: tuple[str, str]
) -> None:
    rows = opened(write(tmp_path / "a.csv", ROWS), categorical=["g"])
    generated = {"kind": "synthetic", "rows": 4}
    table = {"kind": "table", "path": path, "target": "y"} if path else generated
    config = Config.model_validate({"experiment": "e", "data": {**table, "test_fraction": 0.5}})
    whole = combine(compress(rows, part, config.data.holding_out) for part in rows.parts)
    with tracked_run(config, "try", "cpu", "flow", "lease") as run:
        links = log_inputs(run, config, Dataset.of(whole, config.data, rows, {}))
    found = {
        each.tags[0].value: each.dataset for each in client.get_run(run.id).inputs.dataset_inputs
    }
    assert {*found} == {"training", "test"}
    assert sum(json.loads(each.profile)["num_rows"] for each in found.values()) == 40
    of_test = {"dataset_name": found["test"].name, "dataset_digest": found["test"].digest}
    assert links("gain_over_linear") == links("test_rmse") == of_test != links("train_rmse")
    for each in found.values():
        source = mlflow.data.get_source(each)
        assert (each.source_type, type(source).__name__) == kind
        assert path is None or source.uri == path
        columns = Schema.from_json(json.dumps(json.loads(each.schema)["mlflow_colspec"]))
        assert columns == Schema([ColSpec(type_, name) for name, type_ in TYPES.items()])


def test_runs_that_log_the_same_rows_at_the_same_moment_all_have_them(
    client: MlflowClient, tmp_path: Path
) -> None:
    rows = opened(write(tmp_path / "a.csv", ROWS), categorical=["g"])
    table = {"kind": "table", "path": "a.csv", "target": "y", "test_fraction": 0.5}
    config = Config.model_validate({"experiment": "e", "data": table})
    whole = combine(compress(rows, part, config.data.holding_out) for part in rows.parts)
    data, experiment = Dataset.of(whole, config.data, rows, {}), client.create_experiment("e")
    runs = [Run(client, client.create_run(experiment)) for _ in range(8)]
    together = threading.Barrier(len(runs))

    def log(run: Run) -> None:
        together.wait()
        log_inputs(run, config, data)

    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(log, runs))
    digests = [
        {each.dataset.digest for each in client.get_run(run.id).inputs.dataset_inputs}
        for run in runs
    ]
    assert len(digests[0]) == 2
    assert digests == [digests[0]] * len(runs)
