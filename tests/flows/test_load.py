"""Many pipelines at once, and a tracking server that goes away: every record is whole."""

import re
import subprocess
import time
from collections.abc import Callable

import pytest
from mlflow.entities import Run

from tests.flows.conftest import Done, Workspace, eventually
from tests.flows.team import Team, ended

pytestmark = pytest.mark.long
Start = Callable[..., subprocess.Popen]
PARAMS = {"experiment", "data.kind", "data.noise", "training.epochs", "training.learning_rate"}


def check_whole(workspace: Workspace, run: Run, epochs: int) -> None:
    """A run is finished, with each epoch's loss once, params, metrics, its model and files."""
    assert run.info.status == "FINISHED"
    assert [epoch for epoch, _ in workspace.losses(run)] == list(range(1, epochs + 1))
    assert set(run.data.params) > PARAMS
    assert run.data.metrics["prediction_5.0"] > 0
    assert "reason" not in run.data.tags
    client = workspace.client
    for name in ("train_mse", "prediction_5.0"):
        assert len(client.get_metric_history(run.info.run_id, name)) == 1
    (model,) = run.outputs.model_outputs
    assert client.get_logged_model(model.model_id).status.value == "READY"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"config.yaml", "coefficients.json", "predictions.json", "plots"}


def run_at_once(workspace: Workspace, count: int, experiment: str) -> list[Done]:
    """Start many pipelines together and see all of them to their end."""
    started = [
        workspace.start(
            "flows.pipeline", "configs/tutorial.yaml", f"experiment={experiment}",
            f"data.seed={seed}",
        )
        for seed in range(count)
    ]  # fmt: skip
    return [ended(process) for process in started]


def test_twenty_at_once_on_a_teams_servers_are_all_recorded_whole(team: Team) -> None:
    done = run_at_once(team.desk, 20, "twenty")
    assert [(each.status, each.err) for each in done] == [(0, "")] * 20
    runs = team.desk.runs("twenty")
    assert sorted(int(run.data.params["data.seed"]) for run in runs) == list(range(20))
    for run in runs:
        check_whole(team.desk, run, 1000)


def test_eight_at_once_on_the_embedded_databases_are_all_recorded_whole(
    workspace: Workspace,
) -> None:
    done = run_at_once(workspace, 8, "eight")
    assert [(each.status, each.err) for each in done] == [(0, "")] * 8
    runs = workspace.runs("eight")
    assert sorted(int(run.data.params["data.seed"]) for run in runs) == list(range(8))
    for run in runs:
        check_whole(workspace, run, 1000)
        assert workspace.flow_state(run) == "COMPLETED"


def under_way(team: Team, experiment: str) -> Run | None:
    """The experiment's run once its first losses can be seen."""
    runs = team.desk.runs(experiment)
    return runs[0] if runs and "loss" in runs[0].data.metrics else None


def test_a_server_that_is_away_for_a_while_costs_nothing_but_time(team: Team) -> None:
    process = team.pipeline("experiment=blink", "training.epochs=20000")
    eventually(lambda: under_way(team, "blink"))
    team.kill("mlflow")
    time.sleep(15)  # training ends meanwhile, and recording waits
    team.start("mlflow")
    done = ended(process)
    assert (done.status, done.err) == (0, "")
    check_whole(team.desk, team.desk.runs("blink")[0], 20_000)


def test_a_server_that_stays_away_ends_the_run_failed_and_it_goes_on_later(
    team: Team,
) -> None:
    process = team.pipeline(
        "experiment=gone", "training.epochs=20000", MLFLOW_HTTP_REQUEST_MAX_RETRIES="2"
    )
    begun = eventually(lambda: under_way(team, "gone"))
    team.kill("mlflow")
    done = ended(process)
    assert done.status == 1
    assert "does not answer any more" in done.err
    assert len(done.err.splitlines()) == 1
    (command,) = re.findall(r"make (resume RUN=\w+)$", done.out, re.MULTILINE)
    refused = ended(team.pipeline())
    assert refused.status == 1
    assert "does not answer. Start it" in refused.err
    team.start("mlflow")
    assert ended(team.pipeline("experiment=after", "training.epochs=1")).status == 0
    failed = team.desk.client.get_run(begun.info.run_id)
    assert failed.info.status == "FAILED"
    assert "does not answer" in failed.data.tags["reason"]
    team.shell(f"make {command}", team.desk.environment)
    (run,) = team.desk.runs("gone")
    assert run.info.run_id == begun.info.run_id
    check_whole(team.desk, run, 20_000)
    again = ended(team.desk.start("flows.resume"))
    assert again.status == 2
