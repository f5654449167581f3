"""What makes a sweep the one that was interrupted, and which of its runs count."""

from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from plumbline.config.sweep import load_sweep
from tasks.tracking.run import NUMBER_TAG
from tasks.tracking.sweep import PARENT_TAG, VALUES_TAG, _trials_to_keep, fingerprint

OWN = {"kind": "python", "file": "net.py"}
RATES = {"training.learning_rate": [0.01, 0.1]}


def test_a_sweep_is_another_when_its_keys_or_its_files_change(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("a,y\n1,2\n2,4\n")
    data = {"kind": "table", "path": str(table), "target": "y"}
    path = tmp_path / "sweep.yaml"
    path.write_text(
        yaml.safe_dump({"experiment": "e", "data": data, "sweep": {"parameters": RATES}})
    )
    first = fingerprint(load_sweep(path))
    assert fingerprint(load_sweep(path)) == first
    assert fingerprint(load_sweep(path, ["training.epochs=5"])) != first
    table.write_text("a,y\n1,2\n2,4\n3,6\n")
    assert fingerprint(load_sweep(path)) != first


@pytest.mark.parametrize(
    ("model", "varied"),
    [
        (OWN, {}),
        (OWN | {"file": "other.py"}, {"model.file": ["other.py", "net.py"]}),
        ({"kind": "linear"}, {"model": [{"kind": "linear"}, OWN]}),
    ],
)
def test_a_sweep_is_another_when_the_code_of_a_module_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict, varied: dict
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.py", "other.py"):
        Path(name).write_text("def build(inputs, outputs): ...\n")
    base = {"experiment": "e", "data": {"kind": "synthetic", "rows": 9}, "model": model}
    Path("sweep.yaml").write_text(yaml.safe_dump(base | {"sweep": {"parameters": RATES | varied}}))
    first = fingerprint(load_sweep("sweep.yaml"))
    assert fingerprint(load_sweep("sweep.yaml")) == first
    Path("net.py").write_text("def build(inputs, outputs, width=8): ...\n")
    assert fingerprint(load_sweep("sweep.yaml")) != first


def test_runs_that_somebody_nested_in_a_sweep_are_no_trials_and_stay(client: MlflowClient) -> None:
    experiment = client.create_experiment("e")
    parent = client.create_run(experiment)
    nested = {PARENT_TAG: parent.info.run_id}
    trial = client.create_run(experiment, tags={**nested, NUMBER_TAG: "1", VALUES_TAG: "{}"})
    client.set_terminated(trial.info.run_id)
    own = [client.create_run(experiment, tags=nested) for _ in range(2)]
    client.set_terminated(own[0].info.run_id)
    assert list(_trials_to_keep(client, parent, compared=False)) == [1]
    for run in own:
        assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"


def test_a_recorded_trial_has_the_metrics_that_it_had_before_it_was_recorded(
    client: MlflowClient,
) -> None:
    parent = client.create_run(client.create_experiment("e"))
    tags = {PARENT_TAG: parent.info.run_id, NUMBER_TAG: "1", VALUES_TAG: "{}"}
    trial = client.create_run(parent.info.experiment_id, tags=tags)
    for name in ("loss", "validation_loss", "learning_rate"):
        client.log_metric(trial.info.run_id, name, 0.5, step=3)
    for name in ("prediction_5.0", "probability_a_5.0", "test_rmse"):
        client.log_metric(trial.info.run_id, name, 0.5)
    client.set_terminated(trial.info.run_id)
    found = _trials_to_keep(client, parent, compared=True)
    assert found[1].outcome.metrics == {"test_rmse": 0.5}
