"""A net beside lines, as a user sees it: the screen, the record, the gate, predictions, a sweep."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pandas as pd
import pytest
import yaml
from mlflow.entities import Run

from tests.flows.conftest import Done, Workspace, eventually
from tests.flows.test_sweep import split, write_sweep

ROWS = 500
NET = {"kind": "mlp", "hidden": [16, 16]}
CONFIG = {
    "experiment": "nets",
    "data": {
        "kind": "table", "path": "waves.csv", "target": "y", "categorical": ["town"],
        "test_fraction": 0.3,
    },
    "model": NET,
    "training": {"epochs": 30, "batch_size": 32, "rate_schedule": "cosine"},
    "registry": {"model": "waves"},
}  # fmt: skip
RESOURCE, PROMOTED_OR_KEPT = "plumbline.model", ["promoted", "promoted", "kept"]
OUTSIDE = """
import json, sys, mlflow, numpy as np, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model, rows = mlflow.pyfunc.load_model(sys.argv[2]), pd.read_csv(sys.argv[3])
module = mlflow.pytorch.load_model(sys.argv[2])
assert not {"plumbline", "tasks"} & set(sys.modules)
print(json.dumps(np.ravel(model.predict(rows)).tolist()))
"""


@pytest.fixture(scope="module")
def workspace(served: Workspace) -> Workspace:
    return served


@pytest.fixture(scope="module")
def runs(workspace: Workspace) -> tuple[tuple[Done, Done, Done], list[Run]]:
    """A line, a net, and the line again, of rows that are far from a line."""
    x = [n / 50 for n in range(ROWS)]
    towns = ["abc"[n % 3] for n in range(ROWS)]
    y = [10 * math.sin(v) + 5 * (t == "b") for v, t in zip(x, towns, strict=True)]
    frame = pd.DataFrame({"x": x, "town": towns, "y": y})
    frame.to_csv(workspace.root / "waves.csv", index=False)
    (workspace.root / "waves.yaml").write_text(yaml.safe_dump(CONFIG))
    line = ("model={kind: linear}", "training={optimizer: exact}")
    done = tuple(workspace.pipeline("waves.yaml", *given) for given in (line, (), line))
    assert [(each.status, each.err) for each in done] == [(0, "")] * 3
    return done, workspace.runs("nets")[::-1]


def test_the_screen_has_both_losses_the_scores_and_the_line_to_beat(runs) -> None:
    (line, net, _), (_, run, _) = runs
    lines = net.out.splitlines()
    first = next(each for each in lines if each.startswith("Epoch"))
    assert first.startswith("Epoch [3/30], Loss: ")
    assert ", Validation loss: " in first
    held_out = int(run.data.tags["sample"].split("show ")[1].split()[0])
    gain = 100 * run.data.metrics["gain_over_linear"]
    assert f"{gain:.1f} % better than the exact linear model on the same {held_out} rows" in lines
    assert f"As good as the exact linear model on the same {held_out} rows" in line.out
    best = run.data.metrics["best_epoch"]
    assert f"Note: the weights of epoch {best:.0f} are kept: the lowest validation loss" in net.out
    assert "Exact optimum" in line.out
    assert "Exact optimum" not in net.out


def test_the_record_has_every_epoch_the_baselines_and_no_coefficients(runs, workspace) -> None:
    _, (line, net, _) = runs
    client, metrics = workspace.client, net.data.metrics
    epochs = list(range(1, int(net.data.tags["epochs_run"]) + 1))
    for name in ("loss", "validation_loss", "learning_rate"):
        history = client.get_metric_history(net.info.run_id, name)
        assert sorted(metric.step for metric in history) == epochs
    assert metrics["gain_over_linear"] == pytest.approx(
        1 - metrics["test_rmse"] / metrics["linear_test_rmse"]
    )
    for name, same in (("linear_test_rmse", "test_rmse"), ("mean_test_rmse", "mean_test_rmse")):
        assert metrics[name] == pytest.approx(line.data.metrics[same], rel=1e-9)
    assert (net.data.params["model.kind"], net.data.params["model.hidden"]) == ("mlp", "[16, 16]")
    assert net.data.params["training.optimizer"] == "adamw"
    files = {file.path for file in client.list_artifacts(net.info.run_id)}
    assert {"config.yaml", "predictions.json", "columns.json", "data.json"} <= files
    assert "test_predictions.parquet" in files
    assert "coefficients.json" not in files
    plots = {Path(file.path).stem for file in client.list_artifacts(net.info.run_id, "plots")}
    assert plots >= {"loss", "fit", "residuals", "importance"}
    found = client.download_artifacts(net.info.run_id, "importance.json")
    found = json.loads(Path(found).read_text())
    assert found["score"] == pytest.approx(metrics["test_rmse"])  # all held-out rows are kept
    assert set(found["columns"]) == {"x", "town"}


def test_models_are_ranked_by_their_scores_in_mlflow(runs, workspace) -> None:
    _, (_, net, _) = runs
    by_rmse = {"field_name": "metrics.test_rmse", "ascending": True}
    found = workspace.client.search_logged_models([net.info.experiment_id], order_by=[by_rmse])
    assert found[0].source_run_id == net.info.run_id
    assert found[0].params == net.data.params
    (score,) = (metric for metric in found[0].metrics if metric.key == "test_rmse")
    assert score.value == net.data.metrics["test_rmse"]
    inputs = {each.tags[0].value: each.dataset for each in net.inputs.dataset_inputs}
    assert {"training", "test"} <= {*inputs}
    held_out = inputs["test"]
    assert (score.dataset_name, score.dataset_digest) == (held_out.name, held_out.digest)


def test_prefects_automations_hear_of_promotions_and_refusals(runs, workspace) -> None:
    url = f"{workspace.environment['PREFECT_API_URL']}/events/filter"
    wanted = {"event": {"prefix": ["plumbline.model."]}, "resource": {"id": [f"{RESOURCE}.waves"]}}

    def heard() -> dict[int, str]:
        events = httpx.post(url, json={"filter": wanted}).json()["events"]
        return {each["payload"]["version"]: each["event"] for each in events}

    eventually(lambda: len(heard()) == 3)  # the server writes them down some seconds later
    assert heard() == {n: f"{RESOURCE}.{what}" for n, what in enumerate(PROMOTED_OR_KEPT, 1)}


def test_line_and_net_are_compared_on_the_same_rows_whichever_is_the_champion(
    runs, workspace
) -> None:
    (_, promoted, kept), (_, net, _) = runs
    assert "Promoted version 2 of 'waves': better by" in promoted.out
    assert "Kept the champion (version 2) of 'waves' over version 3" in kept.out
    version = workspace.client.get_model_version("waves", "3")
    for name in ("test_rmse", "test_mae", "test_r2"):
        again = float(version.tags[f"champion_{name}"])
        assert again == pytest.approx(net.data.metrics[name], rel=1e-5)


@pytest.mark.slow
def test_a_stored_net_predicts_files_and_loads_elsewhere_without_pickle(
    runs, workspace, tmp_path: Path
) -> None:
    _, (_, net, _) = runs
    uri = f"runs:/{net.info.run_id}/model"
    done = workspace.run("flows.predict", "waves.csv", "out.csv", "--model", uri, "--keep", "y")
    assert done.status == 0, done.err
    out = pd.read_csv(workspace.root / "out.csv")
    rmse = ((out.y - out.prediction) ** 2).mean() ** 0.5
    metrics = net.data.metrics
    assert min(metrics["train_rmse"], metrics["test_rmse"]) / 2 < rmse
    assert rmse < max(metrics["train_rmse"], metrics["test_rmse"]) * 2
    rows = pd.read_csv(workspace.root / "waves.csv").head(7)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    store = f"sqlite:///{workspace.root / 'mlflow.db'}"
    printed = subprocess.check_output(
        [sys.executable, "-c", OUTSIDE, store, uri, "rows.csv"],
        cwd=tmp_path, env=environment, text=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # a float32 product of other rows rounds differently, by 1e-7 of the target's scale of 1
    assert json.loads(printed) == pytest.approx(out.prediction[:7].tolist(), rel=1e-6, abs=1e-5)


@pytest.mark.slow
def test_a_sweep_varies_the_shape_of_a_net_and_keeps_the_best(runs, workspace) -> None:
    base = {**CONFIG, "experiment": "swept nets"} | {"training": {"epochs": 6, "batch_size": 64}}
    del base["registry"]
    varied = {"model.hidden": [[4], [16, 8]], "model.activation": ["relu", "tanh"]}
    path = write_sweep(workspace, "nets.yaml", base, metric="test_rmse", parameters=varied)
    done = workspace.run("flows.sweep", path)
    assert done.status == 0, done.err
    parent, trials = split(workspace.runs("swept nets"))
    assert {n: t.info.status for n, t in trials.items()} == dict.fromkeys(range(1, 5), "FINISHED")
    assert trials[4].info.run_name == "hidden=[16,8] activation=tanh"
    assert trials[4].data.params["model.hidden"] == "[16, 8]"
    best = min(trials.values(), key=lambda run: run.data.metrics["test_rmse"])
    assert parent.data.tags["best_run_id"] == best.info.run_id
    for name in ("loss", "validation_loss"):
        history = workspace.client.get_metric_history(best.info.run_id, name)
        assert [metric.step for metric in history] == list(range(1, 7))
    assert best.outputs.model_outputs
    plots = {
        Path(f.path).stem for f in workspace.client.list_artifacts(parent.info.run_id, "plots")
    }
    assert plots == {"model.hidden", "model.activation"}
