"""Classes as a user sees them: the screen, the record, the gate, predictions, REST, a sweep."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow.entities import Run

from tests.flows.conftest import Done, Workspace
from tests.flows.test_retraining import ask
from tests.flows.test_sweep import split, write_sweep

CLASSES = ["female", "male"]
COLUMNS = ["prediction", "probability_female", "probability_male"]
NET = ("model={kind: mlp, hidden: [16]}", "training.epochs=40")
OUTSIDE = """
import json, sys, mlflow, pandas as pd, torch
mlflow.set_tracking_uri(sys.argv[1])
model, rows = mlflow.pyfunc.load_model(sys.argv[2]), pd.read_csv(sys.argv[3])
module = mlflow.pytorch.load_model(sys.argv[2])
assert module(torch.zeros(3, 8, dtype=torch.float64)).shape == (3, 2)
assert not {"plumbline", "tasks"} & set(sys.modules)
assert [each.name for each in model.metadata.signature.outputs.inputs] == json.loads(sys.argv[4])
print(model.predict(rows).to_json(orient="records"))
"""


@pytest.fixture(scope="module")
def workspace(served: Workspace) -> Workspace:
    return served


@pytest.fixture(scope="module")
def runs(workspace: Workspace) -> tuple[list[Done], list[Run]]:
    """A logistic model and a net for the same model's name, each with its run."""
    config = yaml.safe_load((workspace.root / "configs" / "penguins.yaml").read_text())
    config |= {"experiment": "sexes", "registry": {"model": "sexes"}}
    (workspace.root / "sexes.yaml").write_text(yaml.safe_dump(config))
    done = [workspace.pipeline("sexes.yaml"), workspace.pipeline("sexes.yaml", *NET)]
    return done, workspace.runs("sexes")[::-1]


def test_the_screen_says_how_good_it_is_beside_the_baselines(runs) -> None:
    (line, net), _ = runs
    assert (line.status, net.status) == (0, 0), line.err + net.err
    scores = r"accuracy 0\.\d+ \(always the largest class: 0\.\d+\), log-loss 0\.\d+"
    for done in (line, net):
        assert re.search(rf"^Train: {scores}$", done.out, re.M)
        assert re.search(rf"^Held out: {scores}, ROC AUC 0\.\d+$", done.out, re.M)
        assert re.search(
            r"^Predicted class for .*: (fe)?male \(probability 0\.\d+\)$", done.out, re.M
        )
    assert "As good as the logistic model on the same 86 rows" in line.out
    assert re.search(r"% (better|worse) than the logistic model on the same 86 rows", net.out)
    assert "Promoted version 1 of 'sexes'" in line.out
    assert re.search(r"test_log_loss 0\.\d+ against 0\.\d+ of version 1 on the same held", net.out)


def test_what_is_recorded(runs, workspace) -> None:
    _, (line, net) = runs
    client = workspace.client
    for run in (line, net):
        metrics = run.data.metrics
        assert {"test_accuracy", "test_log_loss", "test_roc_auc", "linear_test_log_loss"} <= {
            *metrics
        }
        label = "39.1_18.7_181.0_3750.0_Adelie_Torgersen"
        p = [metrics[f"probability_{name}_{label}"] for name in CLASSES]
        assert sum(p) == pytest.approx(1)
        assert run.data.tags[f"prediction_{label}"] == CLASSES[p.index(max(p))]
        plots = {Path(file.path).stem for file in client.list_artifacts(run.info.run_id, "plots")}
        drift = {"drift", "drift_shares", "drift_predictions"}  # the second has a champion
        own = {"importance", *drift} if run is net else {"coefficients"}
        assert plots == {"loss", "confusion", "roc", "calibration", *own}
        schema = json.loads(run.inputs.dataset_inputs[0].dataset.schema)["mlflow_colspec"]
        assert (schema[-1]["name"], schema[-1]["type"]) == ("sex", "string")
    assert net.data.params["training.batch_size"] == "32"  # which the rows decide
    assert line.data.params["training.optimizer"] == "newton"
    assert line.data.params["registry.metric"] == "test_log_loss"
    table = json.loads(
        Path(client.download_artifacts(line.info.run_id, "coefficients.json")).read_text()
    )
    assert list(table) == ["male"]
    assert (
        table["male"]["body_mass_g"]["value"] > 2 * table["male"]["body_mass_g"]["standard_error"]
    )
    told = json.loads(
        Path(client.download_artifacts(net.info.run_id, "predictions.json")).read_text()
    )
    assert told[0]["prediction"] == max(told[0]["probabilities"], key=told[0]["probabilities"].get)


def test_the_gate_scores_the_stored_champion_as_it_was_scored(runs, workspace) -> None:
    _, (line, _) = runs
    version = workspace.client.get_model_version("sexes", "2")
    for name in ("test_log_loss", "test_accuracy", "test_roc_auc"):
        again = float(version.tags[f"champion_{name}"])
        assert again == pytest.approx(line.data.metrics[name], rel=1e-6)
    history = workspace.run("flows.history", "sexes").out.splitlines()
    assert "test_log_loss  test_accuracy" in history[0]
    assert f"{line.data.metrics['test_log_loss']:.6g}" in history[1]


def test_files_get_the_class_and_its_probabilities_and_rows_with_holes_none(
    runs, workspace, tmp_path: Path
) -> None:
    uri = f"runs:/{runs[1][1].info.run_id}/model"
    options = ("--model", uri, "--keep", "sex", "--on-missing", "null")
    done = workspace.run("flows.predict", "data/penguins.csv", "out.csv", *options)
    assert done.status == 0, done.err
    out = pd.read_csv(workspace.root / "out.csv")
    assert [*out.columns] == ["sex", *COLUMNS]
    assert (out[COLUMNS].isna().sum() == 2).all()  # two penguins were not measured
    whole = out.dropna()
    assert (whole.sex == whole.prediction).mean() > 0.8
    assert whole[COLUMNS[1:]].sum(axis=1).to_numpy() == pytest.approx(1)
    rows = pd.read_csv(workspace.root / "data" / "penguins.csv").drop(index=3).head(7)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    store = f"sqlite:///{workspace.root / 'mlflow.db'}"
    printed = subprocess.check_output(
        [sys.executable, "-c", OUTSIDE, store, uri, "rows.csv", json.dumps(COLUMNS)],
        cwd=tmp_path, env=os.environ, text=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    expected = out[COLUMNS].drop(index=3).head(7).to_dict(orient="records")
    for one, other in zip(json.loads(printed), expected, strict=True):
        assert one.pop("prediction") == other.pop("prediction")
        assert one == pytest.approx(other, abs=1e-6)


def test_rest_answers_the_class_and_its_probabilities(
    runs, workspace, started: Callable[..., subprocess.Popen]
) -> None:
    process = started("flows.serve", "--model", f"runs:/{runs[1][0].info.run_id}/model")
    address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline()).group()
    rows = pd.read_csv(workspace.root / "data" / "penguins.csv").head(3)
    columns = [name for name in rows.columns if name not in ("sex", "year")]
    status, answer = ask(address, {"dataframe_split": {
        "columns": columns, "data": rows[columns].values.tolist()}})  # fmt: skip
    assert status == 200, answer
    found = json.loads(answer)["predictions"]
    assert [[*row] for row in found] == [COLUMNS] * 3
    assert all(row["prediction"] in CLASSES for row in found)


@pytest.mark.slow
def test_a_sweep_is_ranked_by_log_loss_and_a_loss_of_numbers_fails_alone(workspace) -> None:
    base = yaml.safe_load((workspace.root / "configs" / "penguins.yaml").read_text())
    base |= {"experiment": "swept classes"}
    varied = {"training.optimizer": ["newton", "adam"], "training.loss": ["auto", "mse"]}
    path = write_sweep(workspace, "classes.yaml", base, parameters=varied)
    done = workspace.run("flows.sweep", path)
    assert done.status == 0, done.err
    parent, trials = split(workspace.runs("swept classes"))
    assert [trials[n].info.status for n in range(1, 5)] == ["FINISHED", "FAILED"] * 2
    assert "since the target has classes" in trials[4].data.tags["reason"]
    best = min((trials[1], trials[3]), key=lambda run: run.data.metrics["test_log_loss"])
    assert parent.data.tags["best_run_id"] == best.info.run_id
    compared = workspace.run("flows.compare", "--experiment", "swept classes")
    assert (compared.status, "test_log_loss" in compared.out) == (0, True), compared.err
