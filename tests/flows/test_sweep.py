"""make sweep: one parent run, a nested run for each trial, whatever becomes of them."""

import csv
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import artifacts
from mlflow.entities import Run

from flows.support.command import run_command
from flows.sweep import _checked
from plumbline.config.sweep import load_sweep
from tests.flows.conftest import Done, Workspace, eventually

Start = Callable[..., subprocess.Popen]
BASE = {
    "experiment": "swept",
    "data": {"kind": "table", "path": "swept.csv", "target": "y", "test_fraction": 0.3},
    "training": {"epochs": 40},
}
VARIED = {"training.learning_rate": [0.01, 50.0, 0.4], "data.features": [["a"], ["a", "b"]]}


def write_sweep(workspace: Workspace, name: str, base: dict, **sweep: object) -> str:
    (workspace.root / name).write_text(yaml.safe_dump({**base, "sweep": sweep}, sort_keys=False))
    return name


def split(runs: list[Run]) -> tuple[Run, dict[int, Run]]:
    """The newest parent, and its trials by number."""
    parent = next(run for run in runs if "plumbline.sweep" in run.data.tags)
    mine = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    trials = {int(run.data.tags["plumbline.trial"]): run for run in mine}
    assert len(trials) == len(mine)
    return parent, trials


def has_model(run: Run) -> bool:
    return bool(run.outputs.model_outputs)


@pytest.fixture(scope="module")
def workspace(served: Workspace) -> Workspace:
    return served


@pytest.fixture(scope="module")
def swept(workspace: Workspace) -> tuple[Done, Run, dict[int, Run]]:
    rows = np.random.default_rng(0).normal(size=(500, 2))
    y = 3 * rows[:, 0] - 2 * rows[:, 1] + 1
    table = pd.DataFrame({"a": rows[:, 0], "b": rows[:, 1], "y": y, "unused": "text"})
    table.to_csv(workspace.root / "swept.csv", index=False)
    path = write_sweep(workspace, "swept.yaml", BASE, metric="test_rmse", parameters=VARIED)
    (scratch := workspace.root / "scratch").mkdir()
    done = workspace.run("flows.sweep", path, TMPDIR=str(scratch))
    assert done.status == 0, done.err
    assert not list(scratch.glob("pymp-*"))
    return done, *split(workspace.runs("swept"))


def test_a_trial_that_fails_is_recorded_with_its_reason_and_the_others_go_on(swept) -> None:
    _, parent, trials = swept
    assert parent.info.status == "FINISHED"
    statuses = [trials[n].info.status for n in range(1, 7)]
    assert statuses == ["FINISHED", "FINISHED", "FAILED", "FAILED", "FINISHED", "FINISHED"]
    assert "training.learning_rate must be at most" in trials[3].data.tags["reason"]
    assert trials[3].data.params["training.learning_rate"] == "50.0"


def test_each_trial_has_its_full_record_under_the_name_of_what_varies(swept, workspace) -> None:
    _, _, trials = swept
    assert trials[6].info.run_name == 'lr=0.4 features=["a","b"]'
    for number in (1, 2, 5, 6):
        assert [epoch for epoch, _ in workspace.losses(trials[number])] == list(range(1, 41))
        assert trials[number].data.params["training.epochs"] == "40"
        assert {"test_rmse", "train_mse", "optimal_mse"} <= set(trials[number].data.metrics)
        assert len(trials[number].data.tags["data_digest"]) == 64


def test_predict_takes_the_newest_model_of_a_sweep_too(swept, workspace) -> None:
    (workspace.root / "new.csv").write_text("a,b\n1,0\n")
    done = workspace.run("flows.predict", "new.csv", "new-out.csv")
    assert done.status == 0, done.err
    _, _, trials = swept
    assert trials[6].info.run_id in done.out


def test_a_trial_is_what_a_single_run_of_its_configuration_is(swept, workspace) -> None:
    _, _, trials = swept
    (workspace.root / "single.yaml").write_text(yaml.safe_dump({**BASE, "experiment": "single"}))
    overrides = ("training.learning_rate=0.4", "data.features=[a]")
    assert workspace.pipeline("single.yaml", *overrides).status == 0
    single = workspace.runs("single")[0]
    for name in ("train_mse", "test_rmse", "test_r2", "optimal_mse"):
        assert trials[5].data.metrics[name] == pytest.approx(single.data.metrics[name], rel=1e-9)
    assert workspace.losses(trials[5]) == [
        (epoch, pytest.approx(loss, rel=1e-9)) for epoch, loss in workspace.losses(single)
    ]


def test_the_parent_holds_the_best_trial_a_table_and_pictures(swept, workspace) -> None:
    _, parent, trials = swept
    best = min((1, 2, 5, 6), key=lambda n: trials[n].data.metrics["test_rmse"])
    assert best == 6
    assert parent.data.tags["best_run_id"] == trials[6].info.run_id
    assert parent.data.metrics["test_rmse"] == trials[6].data.metrics["test_rmse"]
    assert parent.data.params["training.learning_rate"] == "0.4"
    assert json.loads(parent.data.params["sweep.parameters.data.features"]) == [["a"], ["a", "b"]]
    folder = Path(artifacts.download_artifacts(parent.info.artifact_uri))
    with (folder / "trials.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["trial"] for line in lines] == list("123456")
    assert float(lines[5]["test_rmse"]) == trials[6].data.metrics["test_rmse"]
    assert "must be at most" in lines[2]["reason"]
    pictures = {path.name for path in (folder / "plots").iterdir()}
    assert pictures == {"training.learning_rate.png", "data.features.png"}


def test_only_the_best_trial_keeps_its_model_and_it_predicts(swept, workspace) -> None:
    _, _, trials = swept
    assert [number for number, run in trials.items() if has_model(run)] == [6]
    client = workspace.client
    model_id = client.get_run(trials[6].info.run_id).outputs.model_outputs[0].model_id
    location = client.get_logged_model(model_id).artifact_location
    rows = pd.DataFrame({"b": [0.0, 1.0], "a": [1.0, 0.0]})
    assert mlflow.pyfunc.load_model(location).predict(rows) == pytest.approx(
        np.array([[4.0], [-1.0]]), abs=0.1
    )


def test_the_data_is_read_once_for_all_trials(swept, workspace) -> None:
    _, parent, _ = swept
    flow_run = parent.data.tags["prefect_flow_run_id"]
    query = "SELECT name FROM task_run WHERE flow_run_id = ? AND name LIKE 'compress%'"
    assert len(workspace.prefect(query, flow_run)) == 1


def test_the_screen_has_a_line_a_trial(swept) -> None:
    done, _, _ = swept
    lines = [line for line in done.out.splitlines() if line.startswith("Trial")]
    assert len(lines) == 6
    assert lines[0].startswith('Trial [1/6], lr=0.01 features=["a"]: test_rmse ')
    assert lines[0].endswith("(the best so far)")


def test_a_sweep_that_cannot_succeed_says_why(swept, workspace: Workspace) -> None:
    base, varied = {**BASE, "experiment": "wrong"}, {"training.learning_rate": [90.0, 80.0]}
    done = workspace.run(
        "flows.sweep", write_sweep(workspace, "wrong.yaml", base, parameters=varied)
    )
    assert done.status == 1
    said = "all 2 trials failed; the first: training.learning_rate must be at most"
    assert said in done.err
    assert ".." not in done.err
    assert "Traceback" not in done.err
    assert {run.info.status for run in workspace.runs("wrong")} == {"FAILED"}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "seed"), [("grid", 0), ("tpe", 1)])
def test_an_interrupted_sweep_loses_and_doubles_no_trial(
    tutorial: tuple[Done, Run], workspace: Workspace, started: Start, method: str, seed: int
) -> None:
    base = {
        "experiment": f"interrupted-{method}",
        "data": {"kind": "synthetic", "x": [1.0, 2.0, 3.0, 4.0], "weights": [2.0]},
        "training": {"epochs": 300},
    }
    varied = {
        "training.learning_rate": {"low": 0.001, "high": 1.0, "log": True, "count": 12},
        "training.optimizer": ["sgd", "adam"],
    }
    path = write_sweep(
        workspace, f"{method}.yaml", base, method=method, trials=24, parameters=varied
    )
    moments = random.Random(seed)
    for kind in (signal.SIGKILL, signal.SIGINT):
        stop_after = moments.randint(2, 8)
        print(f"seed {seed}: {kind.name} after {stop_after} more trials")
        before = len(finished(workspace, base["experiment"]))
        process = started("flows.sweep", path)
        eventually(lambda n=before + stop_after: len(finished(workspace, base["experiment"])) >= n)
        os.kill(process.pid, kind)
        _, said = process.communicate()
        assert said == ("Interrupted.\n" if kind is signal.SIGINT else "")
        eventually(lambda: not workspace.processes())
    done = workspace.run("flows.sweep", path)
    assert done.status == 0, done.err
    parent, trials = split(workspace.runs(base["experiment"]))
    assert sorted(trials) == list(range(1, 25))
    for run in trials.values():
        epochs = [epoch for epoch, _ in workspace.losses(run)]
        assert epochs == list(range(1, len(epochs) + 1))
        assert run.info.status in ("FINISHED", "FAILED")
    again = workspace.run("flows.sweep", path, f"experiment={base['experiment']}-whole")
    assert again.status == 0, again.err
    whole, others = split(workspace.runs(f"{base['experiment']}-whole"))
    assert {n: run.info.run_name for n, run in trials.items()} == {
        n: run.info.run_name for n, run in others.items()
    }
    assert parent.data.metrics["train_mse"] == whole.data.metrics["train_mse"]
    assert has_model(trials[int(parent.data.tags["best_trial"])])


def finished(workspace: Workspace, experiment: str) -> list[Run]:
    """Trials that are recorded."""
    runs = workspace.runs(experiment)
    return [r for r in runs if "plumbline.trial" in r.data.tags and r.info.status == "FINISHED"]


def test_a_pruned_trial_is_finished_with_a_tag_and_no_model(swept, workspace: Workspace) -> None:
    base = {**BASE, "experiment": "pruned", "data": {**BASE["data"], "validation_fraction": 0.2}}
    rates = {"training.learning_rate": [0.1] * 5 + [0.2] * 4 + [0.001], "training.epochs": [200]}
    sweep = {"metric": "test_rmse", "pruner": "median", "parameters": rates}
    done = workspace.run("flows.sweep", write_sweep(workspace, "pruned.yaml", base, **sweep))
    assert done.status == 0, done.err
    parent, trials = split(workspace.runs("pruned"))
    pruned = {number: run for number, run in trials.items() if "pruned" in run.data.tags}
    assert 10 in pruned
    assert not pruned.keys() & {1, 2, 3, 4, 5}
    run = pruned[10]
    assert run.info.status == "FINISHED"
    assert len(workspace.losses(run)) == int(run.data.tags["pruned"]) < 200
    assert "test_rmse" not in run.data.metrics
    assert "pruned: worse than the median of earlier trials after epoch" in done.out
    assert parent.data.tags["best_trial"] not in map(str, pruned)


def test_options_of_a_module_of_ones_own_vary_and_a_wrong_one_is_a_failed_trial(
    workspace: Workspace,
) -> None:
    base = {"base": "configs/python.yaml", "experiment": "own", "training": {"epochs": 3}}
    parameters = {"model.options.width": [4, "wide"]}
    write_sweep(workspace, "own.yaml", base, parameters=parameters)
    done = workspace.run("flows.sweep", "own.yaml")
    assert done.status == 0, done.err
    _, trials = split(workspace.runs("own"))
    assert [trials[number].info.status for number in sorted(trials)] == ["FINISHED", "FAILED"]
    failed = trials[max(trials)]
    assert any(
        "models/net.py, line 14: build(1, 1) failed (" in v for v in failed.data.tags.values()
    )


def test_a_module_that_is_wrong_in_every_trial_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {"base": "configs/python.yaml", "model": {"options": {"width": -1}}}
    path = write_sweep(workspace, "bad.yaml", base, parameters={"training.epochs": [3, 4]})
    monkeypatch.chdir(workspace.root)
    assert run_command(lambda: _checked(load_sweep(path))) == 2
    assert capsys.readouterr().err.startswith("models/net.py, line 14: build(1, 1) failed (")
