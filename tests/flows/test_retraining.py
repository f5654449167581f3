"""Retraining as a user sees it: the gate, the history, going back, serving."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import mlflow
import pytest

from flows.retraining import apply_local
from tests.flows.conftest import Done, Workspace, eventually

CONFIG = "configs/retraining.yaml"


@pytest.fixture(scope="module")
def workspace(served: Workspace) -> Workspace:
    return served


@pytest.fixture(scope="module")
def retrained(workspace: Workspace) -> tuple[Done, Done]:
    """The example, run twice on the same data."""
    return workspace.pipeline(CONFIG), workspace.pipeline(CONFIG)


def test_the_first_is_promoted_and_an_equal_is_kept_both_with_success(
    workspace: Workspace, retrained: tuple[Done, Done]
) -> None:
    first, second = retrained
    assert (first.status, first.err) == (second.status, second.err) == (0, "")
    assert "Promoted version 1 of 'ozone': no champion yet" in first.out
    assert "Kept the champion (version 1) of 'ozone' over version 2: it is no better" in second.out
    assert {run.info.status for run in workspace.runs("retraining")} == {"FINISHED"}
    assert workspace.client.get_registered_model("ozone").aliases == {"champion": 1}


def test_every_decision_is_written_on_its_version(
    workspace: Workspace, retrained: tuple[Done, Done]
) -> None:
    newest, oldest = workspace.runs("retraining")
    for number, run, decision in (("1", oldest, "promoted"), ("2", newest, "kept")):
        version = workspace.client.get_model_version("ozone", number)
        assert version.run_id == version.tags["run_id"] == run.info.run_id
        assert version.tags["decision"] == decision
        assert version.tags["data_digest"] == run.data.tags["data_digest"]
        assert float(version.tags["test_rmse"]) == pytest.approx(
            run.data.metrics["test_rmse"], rel=1e-9
        )
        logged = workspace.client.get_logged_model(version.source.removeprefix("models:/"))
        assert logged.source_run_id == run.info.run_id
    assert float(version.tags["margin"]) == 0.0
    assert version.tags["champion_version"] == "1"
    assert version.tags["champion_test_rmse"] == version.tags["test_rmse"]


def test_data_is_compared_before_training_as_metrics_and_a_table(
    workspace: Workspace, retrained: tuple[Done, Done], tmp_path: Path
) -> None:
    newest, oldest = workspace.runs("retraining")
    assert "drift_max_shift" not in oldest.data.metrics
    assert newest.data.metrics["drift_max_shift"] == 0.0
    assert newest.data.metrics["drift_shift/x"] == 0.0
    assert newest.data.metrics["drift_spread_ratio/x"] == 1.0
    assert newest.data.metrics["drift_stability_index_predictions"] == 0.0
    drawn = workspace.client.list_artifacts(newest.info.run_id, "plots")
    assert {"plots/drift.png", "plots/drift_predictions.png"} <= {each.path for each in drawn}
    path = workspace.client.download_artifacts(newest.info.run_id, "drift.json", str(tmp_path))
    table = json.loads(Path(path).read_text())
    assert "column" in table["columns"]
    assert [row[0] for row in table["data"]] == ["x", "y"]
    out = retrained[1].out
    assert out.index("Data against version 1's: rows 36 to 36") < out.index("Train:")


def test_history_and_rollback_say_what_happened(
    workspace: Workspace, retrained: tuple[Done, Done]
) -> None:
    moved = workspace.run("flows.rollback", "ozone", "--to", "2")
    assert (moved.status, moved.err) == (0, "")
    assert "make rollback MODEL='ozone' TO=1" in moved.out
    back = workspace.run("flows.rollback", "ozone")
    assert "rolled back from version 2 to version 1" in back.out
    told = workspace.run("flows.history", "ozone")
    lines = told.out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["1", "2", "2", "1"]
    assert re.search(r"now .* rolled back by \w+: from version 2", lines[-1])


def test_leaving_a_version_that_another_tool_registered_bars_nothing(
    workspace: Workspace, retrained: tuple[Done, Done]
) -> None:
    client = workspace.client
    client.create_registered_model("by hand")
    for number in ("1", "2"):
        own = client.get_model_version("ozone", number)
        model = client.get_logged_model(own.source.removeprefix("models:/"))
        client.create_model_version("by hand", model.artifact_location, own.run_id)
    client.set_registered_model_alias("by hand", "champion", "2")
    moved = workspace.run("flows.rollback", "by hand", "--to", "1")
    assert (moved.status, moved.err) == (0, "")
    assert "The gate will not promote" not in moved.out
    client.delete_registered_model("by hand")  # the other tests have a single model


def test_predict_takes_the_champion(
    workspace: Workspace, retrained: tuple[Done, Done], tmp_path: Path
) -> None:
    rows, output = tmp_path / "rows.csv", tmp_path / "out.csv"
    rows.write_text("x\n500\n")
    given = ("flows.predict", str(rows), str(output), "--model", "models:/ozone@champion")
    assert workspace.run(*given).status == 0
    assert float(output.read_text().splitlines()[1]) == pytest.approx(500.9, abs=0.1)


def ask(address: str, body: object) -> tuple[int, str]:
    """(status, body) of a request to MLflow's server."""
    text = body if isinstance(body, str) else json.dumps(body)
    request = Request(f"{address}/invocations", text.encode())
    request.add_header("Content-Type", "application/json")
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_the_champion_is_served_its_curl_line_works_and_wrong_rows_get_a_4xx(
    workspace: Workspace,
    retrained: tuple[Done, Done],
    started: Callable[..., subprocess.Popen],
) -> None:
    process = started("flows.serve")
    lines = [process.stdout.readline() for _ in range(3)]
    address = re.search(r"http://127\.0\.0\.1:\d+", lines[0]).group()
    assert lines[0].startswith("models:/ozone@champion is served at")
    asked = subprocess.run(lines[1], shell=True, capture_output=True, text=True, check=True)
    assert len(json.loads(asked.stdout)["predictions"]) == 3
    status, answer = ask(address, {"dataframe_records": [{"other": 1, "x": 500}]})
    assert status == 200
    mlflow.set_tracking_uri(f"sqlite:///{workspace.root / 'mlflow.db'}")
    direct = mlflow.pyfunc.load_model("models:/ozone@champion").predict([{"x": 500.0}])
    assert json.loads(answer)["predictions"] == direct.tolist()
    csv = f"curl -s {address}/invocations -H 'Content-Type: text/csv' --data-binary $'x\\n500\\n'"
    asked = subprocess.run(["bash", "-c", csv], capture_output=True, text=True, check=True)
    assert json.loads(asked.stdout)["predictions"] == direct.tolist()
    for body, told in (
        ({"dataframe_records": [{"x": None}]}, "a missing value"),
        ({"dataframe_records": [{"z": 5}]}, "missing inputs ['x']"),
        ("no JSON", "valid JSON"),
        ("[" * 100_000, "recursion"),
    ):
        status, answer = ask(address, body)
        assert (status, told in json.loads(answer)["message"]) == (400, True), answer
    for path in ("ping", "health", "version"):
        with urlopen(f"{address}/{path}", timeout=30) as found:
            assert found.status == 200
    foreign = Request(f"{address}/ping", headers={"Origin": "https://example.com"})
    with pytest.raises(HTTPError, match="403"):
        urlopen(foreign, timeout=30)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    eventually(lambda: not workspace.processes())


def test_serving_what_is_not_there_is_refused(workspace: Workspace) -> None:
    done = workspace.run("flows.serve", "--model", "models:/none@champion")
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "models:/none@champion" in done.err


def test_code_and_recipients_are_those_of_our_own_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever reaches the server can write a run's parameters."""
    ours = {"kind": "python", "file": "models/net.py", "options": {}}
    parameters = {"notify": None, "model": {**ours, "file": "/tmp/theirs.py"}}
    apply_local({"notify": None, "model": ours}, parameters)
    assert parameters["model"] == ours
    assert "model in the run's parameters is ignored" in capsys.readouterr().out
    parameters = {"model": {**ours, "options": {"width": 3}}}
    apply_local({"notify": None, "model": ours}, parameters)
    assert parameters["model"]["options"] == {"width": 3}
    assert not capsys.readouterr().out
    parameters = {"model": {"kind": "python", "file": "/tmp/theirs.py"}}
    apply_local({}, parameters)
    assert parameters == {"model": {"kind": "linear"}, "notify": None}


@pytest.mark.slow
def test_a_run_that_begins_with_the_champion_needs_an_epoch(
    workspace: Workspace, retrained: tuple[Done, Done]
) -> None:
    champion = workspace.client.get_registered_model("ozone").aliases["champion"]
    slow = ("training.learning_rate=0.01", "experiment=tuned")  # from 0 it takes hundreds
    done = workspace.pipeline(CONFIG, "training.start=champion", *slow)
    assert (done.status, done.err) == (0, "")
    assert f"Note: training continues from models:/ozone/{champion}" in done.out
    (run,) = workspace.runs("tuned")
    assert run.data.tags["started_from"] == f"models:/ozone/{champion}"
    assert run.data.tags["epochs_run"] == "1"


def test_a_champion_that_was_trained_on_rows_held_out_now_is_said_to_be(
    workspace: Workspace, retrained: tuple[Done, Done]
) -> None:
    assert "its scores flatter it" not in retrained[1].out
    said = "(its data.seed is 42, and that of this run 7), so its scores flatter it"
    assert said in workspace.pipeline(CONFIG, "data.seed=7").out
