"""The main job: what a person sees, and what MLflow and Prefect hold afterwards."""

import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from blake3 import blake3
from mlflow.entities import Run
from torch import nn, optim

from tests.flows.conftest import Done, Workspace

LINES = [
    "Epoch [100/1000], Loss: 0.1158",
    "Epoch [200/1000], Loss: 0.0636",
    "Epoch [300/1000], Loss: 0.0349",
    "Epoch [400/1000], Loss: 0.0192",
    "Epoch [500/1000], Loss: 0.0105",
    "Epoch [600/1000], Loss: 0.0058",
    "Epoch [700/1000], Loss: 0.0032",
    "Epoch [800/1000], Loss: 0.0017",
    "Epoch [900/1000], Loss: 0.0010",
    "Epoch [1000/1000], Loss: 0.0005",
    "Predicted value for input 5.0: 9.9608",
]
METRICS = {"train_mse", "optimal_mse", "optimality_gap", "prediction_5.0", "loss"}
OUTSIDE = """
import sys, mlflow, numpy as np, pandas as pd, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
module = mlflow.pytorch.load_model(sys.argv[2])
for rows in ([[5.0]], np.int32([[5], [6], [7]]), np.float32([[5.0], [1.0]])):
    served = np.ravel(model.predict(np.array(rows)))
    direct = module(torch.tensor(np.array(rows), dtype=torch.float32)).detach().numpy().ravel()
    assert np.array_equal(served, direct), (served, direct)
print(model.predict(np.array([[5.0]])).item())
"""


@pytest.fixture(scope="module")
def workspace(served: Workspace) -> Workspace:
    return served


def plain_losses(epochs: int) -> list[float]:
    """The tutorial's loop as people know it."""
    torch.manual_seed(42)
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    model, criterion = nn.Linear(1, 1), nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(epochs):
        loss = criterion(model(x), 2 * x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_the_tutorial_prints_its_lines_and_where_to_look_and_nothing_else(
    tutorial: tuple[Done, Run],
) -> None:
    done, run = tutorial
    assert done.status == 0
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[:-1] == LINES
    assert run.info.run_name in lines[-1]
    assert "make ui" in lines[-1]


def test_every_epochs_loss_is_recorded_in_order_and_is_the_plain_scripts(
    workspace: Workspace, tutorial: tuple[Done, Run]
) -> None:
    recorded = workspace.losses(tutorial[1])
    assert [epoch for epoch, _ in recorded] == list(range(1, 1001))
    for (_, ours), plain in zip(recorded, plain_losses(1000), strict=True):
        assert math.isclose(ours, plain, rel_tol=1e-4, abs_tol=1e-9)


def test_the_record_holds_params_metrics_and_tags(
    workspace: Workspace, tutorial: tuple[Done, Run]
) -> None:
    _, run = tutorial
    assert run.info.status == "FINISHED"
    assert run.data.params["training.learning_rate"] == "0.01"
    assert run.data.params["data.x"] == "[1.0, 2.0, 3.0, 4.0]"
    assert run.data.params["device"] in ("cpu", "cuda:0", "mps", "xpu:0")
    assert set(run.data.metrics) >= METRICS
    assert run.data.metrics["prediction_5.0"] == pytest.approx(9.9608, abs=5e-5)
    assert run.data.metrics["optimal_mse"] == pytest.approx(0, abs=1e-25)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=workspace.root, text=True)
    assert run.data.tags["git_commit"] == commit.strip()
    assert run.data.tags["git_dirty"] == "false"
    assert run.data.tags["mae_rows"] == "4"
    assert len(run.data.tags["data_digest"]) == 64
    assert run.inputs.dataset_inputs[0].dataset.digest == run.data.tags["data_digest"][:36]


def test_the_artifacts_are_complete_and_none_is_a_pickle(
    workspace: Workspace, tutorial: tuple[Done, Run], tmp_path: Path
) -> None:
    _, run = tutorial
    folder = Path(workspace.client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml", "coefficients.json", "predictions.json",
        "plots/loss.png", "plots/fit.png", "plots/residuals.png", "plots/coefficients.png",
    }  # fmt: skip
    assert yaml.safe_load((folder / "config.yaml").read_text())["training"]["epochs"] == 1000
    coefficients = json.loads((folder / "coefficients.json").read_text())
    assert coefficients["x"]["least_squares"] == pytest.approx(2, rel=1e-14)
    assert set(coefficients) == {"intercept", "x"}
    everything = [path.name for path in (workspace.root / "mlruns").rglob("*")]
    assert not [name for name in everything if name.endswith((".pkl", ".pickle", ".pth"))]


def test_the_model_loads_elsewhere_takes_any_number_of_rows_and_needs_no_pickle(
    workspace: Workspace, tutorial: tuple[Done, Run], tmp_path: Path
) -> None:
    uri = f"runs:/{tutorial[1].info.run_id}/model"
    store = f"sqlite:///{workspace.root / 'mlflow.db'}"
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    printed = subprocess.check_output(
        [sys.executable, "-c", OUTSIDE, store, uri],
        cwd=tmp_path, env=environment, text=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert float(printed) == pytest.approx(9.9608, abs=5e-5)


def test_prefect_holds_the_flow_and_its_tasks_as_completed(
    workspace: Workspace, tutorial: tuple[Done, Run]
) -> None:
    _, run = tutorial
    assert workspace.flow_state(run) == "COMPLETED"
    tasks = workspace.prefect(
        "SELECT name, state_type FROM task_run WHERE flow_run_id = ?",
        run.data.tags["prefect_flow_run_id"],
    )
    names = {name.split("-")[0].split(" ")[0] for name, _ in tasks}
    assert names == {"generate", "compress", "train", "evaluate", "predict", "record"}
    assert {state for _, state in tasks} == {"COMPLETED"}


def test_norris_reaches_the_certified_coefficients(workspace: Workspace, tmp_path: Path) -> None:
    done = workspace.pipeline("configs/norris.yaml")
    assert done.status == 0
    run = workspace.runs("norris")[0]
    path = workspace.client.download_artifacts(run.info.run_id, "coefficients.json", str(tmp_path))
    found = json.loads(Path(path).read_text())
    certified = {
        "intercept": (-0.262323073774029, 0.232818234301152),
        "x": (1.00211681802045, 0.429796848199937e-03),
    }
    for name, (value, error) in certified.items():
        assert found[name]["least_squares"] == pytest.approx(value, rel=1e-10)
        assert found[name]["standard_error"] == pytest.approx(error, rel=1e-10)
        assert found[name]["trained"] == pytest.approx(value, rel=1e-5)
    data = (workspace.root / "data" / "norris.csv").read_bytes()
    assert run.data.tags["data_digest"] == blake3(data).hexdigest()


def test_the_closed_form_of_the_tutorial_is_one_epoch_and_a_record_like_any_other(
    workspace: Workspace, tmp_path: Path
) -> None:
    overrides = ("training.optimizer=exact", "experiment=exact", "data.noise=0.5")
    done = workspace.pipeline("configs/tutorial.yaml", *overrides)
    assert (done.status, done.err) == (0, "")
    ignored, epoch, predicted, _ = done.out.splitlines()
    assert ignored.endswith("have no effect: learning_rate, epochs")
    assert epoch.startswith("Epoch [1/1], Loss: 0.")
    run = workspace.runs("exact")[0]
    metrics = run.data.metrics
    assert metrics["optimality_gap"] == 0
    assert workspace.losses(run) == [(1, metrics["optimal_mse"])]
    assert metrics["train_mse"] == pytest.approx(metrics["optimal_mse"], rel=1e-9)
    path = workspace.client.download_artifacts(run.info.run_id, "coefficients.json", str(tmp_path))
    found = json.loads(Path(path).read_text())
    assert [each["trained"] for each in found.values()] == [
        each["least_squares"] for each in found.values()
    ]
    value = found["intercept"]["trained"] + 5 * found["x"]["trained"]
    assert float(predicted.split()[-1]) == pytest.approx(value, abs=5e-5)
    assert "far_from_optimum" not in run.data.tags


def test_a_file_is_not_read_again_until_it_changes(workspace: Workspace) -> None:
    folder = workspace.root / "rows"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.csv").write_text("x,y\n1,2\n2,4\n3,6.5\n")
    (workspace.root / "rows.yaml").write_text(
        "experiment: rows\ndata: {kind: table, path: rows, target: y}\n"
        "training: {epochs: 20, learning_rate: auto}\n"
    )
    counts = []
    for text in ("", "4,8\n"):
        with (folder / "b.csv").open("a") as changed:
            changed.write(text)
        assert workspace.pipeline("rows.yaml").status == 0
        metrics = workspace.runs("rows")[0].data.metrics
        counts.append((metrics["files_new"], metrics["files_reused"], metrics["rows_new"]))
    assert counts == [(2, 0, 6), (1, 1, 4)]


def test_a_table_as_pandas_and_spreadsheets_write_it_is_trained_and_predicted(
    workspace: Workspace, tmp_path: Path
) -> None:
    rows = [(i, i / 4, "ab"[i % 2], "only", i % 7, 5 + 2 * (i % 7)) for i in range(60)]
    lines = [",x,g,one,seven,y", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    text = "\n".join(lines).replace(",", ";").replace(".", ",")
    with gzip.open(tmp_path / "new.csv.gz", "wt") as stream:
        stream.write(text)
    data = {"kind": "table", "path": str(tmp_path / "a.csv"), "target": "y"}
    data |= {"categorical": ["g", "one"], "features": ["x", "seven", "g"]}
    config = {"experiment": "people", "data": data, "training": {"optimizer": "exact"}}
    (tmp_path / "people.yaml").write_text(yaml.safe_dump(config))
    done = workspace.pipeline(str(tmp_path / "people.yaml"))
    assert done.status == 0, done.err
    assert "columns that tell nothing, being constant in the training rows: one (only)" in done.out
    assert "determined exactly (R² = 1 to 12 digits) by seven: a leak?" in done.out
    output = tmp_path / "out.csv"
    done = workspace.run("flows.predict", str(tmp_path / "new.csv.gz"), str(output))
    assert done.status == 0, done.err
    found = [float(line) for line in output.read_text().split()[1:]]
    assert found == pytest.approx([row[-1] for row in rows])
