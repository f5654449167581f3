"""docs/production.md: its commands, typed as they stand, give what it promises."""

import re
import subprocess
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.flows.conftest import eventually
from tests.flows.team import SECRETS, Team, blocks, ended

pytestmark = pytest.mark.long


def at_the_desk(team: Team) -> str:
    """Everything that the page tells people to type, typed; what it printed. Once a session."""
    log = team.desk.root / "typed.log"
    if not log.exists():
        typed = [text for _, text in blocks("Using the servers")]
        (commands,) = (text for text in typed if "make run-pipeline" in text)
        log.write_text(team.shell(commands, team.desk.environment))
    return log.read_text()


def test_the_commands_of_the_readme_work_with_two_addresses_and_logins(team: Team) -> None:
    printed = at_the_desk(team)
    assert "Predicted value for input 5.0: 9.9608" in printed
    assert "Trial [10/10]" in printed
    assert "Predicted 1 rows" in printed
    assert team.at("mlflow") in printed
    assert team.at("prefect") in printed
    assert not list(team.desk.root.glob("mlflow.db*"))
    run = team.desk.runs("tutorial")[-1]
    assert [epoch for epoch, _ in team.desk.losses(run)] == list(range(1, 1001))
    client = team.desk.client
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert {"config.yaml", "plots"} <= {
        file.path for file in client.list_artifacts(run.info.run_id)
    }
    assert {r.info.status for r in team.desk.runs("tutorial")} == {"FINISHED"}


def test_no_secret_is_in_the_records_the_databases_the_bucket_or_the_logs(team: Team) -> None:
    desk, prefect = team.desk.environment, SECRETS["PREFECT_SERVER_API_AUTH_STRING"]
    mlflow = f"ann:{SECRETS['MLFLOW_TRACKING_PASSWORD']}"
    with_logins = {
        "MLFLOW_TRACKING_URI": desk["MLFLOW_TRACKING_URI"].replace("//", f"//{mlflow}@"),
        "PREFECT_API_URL": desk["PREFECT_API_URL"].replace("//", f"//{prefect}@"),
        "MLFLOW_TRACKING_PASSWORD": "",
        "PREFECT_API_AUTH_STRING": "",
    }
    for epochs in (10, 0):  # one that ends well, one that is refused
        done = ended(team.pipeline(f"training.epochs={epochs or -1}", **with_logins))
        assert done.status == (0 if epochs else 2), done.err
        assert not found_in(done.out + done.err)
    done = ended(team.pipeline("training.learning_rate=0.13", **with_logins))
    assert done.status == 2
    for kind, commands in blocks("Backup and restore"):
        if not kind:
            team.shell(commands)
    backup = team.desk.root / "backup"
    for dump in backup.glob("*.dump"):
        sql = subprocess.check_output(["pg_restore", "--file=-", str(dump)])
        assert not found_in(sql.decode(errors="replace")), dump
    for path in (*backup.joinpath("bucket").rglob("*"), *team.desk.root.glob("*.log")):
        if path.is_file():
            assert not found_in(path.read_bytes().decode(errors="replace")), path


def found_in(text: str) -> list[str]:
    """The secrets that a text holds."""
    words = {secret.rpartition(":")[2] for secret in SECRETS.values()}
    return [word for word in words if word in text]


def test_a_key_in_the_address_of_data_is_refused_and_not_shown(team: Team) -> None:
    path = "s3://id:secret-key-of-the-bucket@rows/a.csv"
    done = ended(team.desk.start("flows.pipeline", "configs/norris.yaml", f"data.path={path}"))
    assert done.status == 2
    assert "data.path must be without a password or key" in done.err
    assert not found_in(done.out + done.err)


@pytest.mark.parametrize(
    ("variable", "server"),
    [("MLFLOW_TRACKING_PASSWORD", "MLflow"), ("PREFECT_API_AUTH_STRING", "Prefect")],
)
@pytest.mark.parametrize(
    "command",
    [("flows.pipeline", "configs/tutorial.yaml"), ("flows.schedule", "configs/retraining.yaml")],
    ids=lambda command: command[0],
)
def test_without_the_right_login_a_command_says_so_in_one_line(
    team: Team, command: tuple[str, ...], variable: str, server: str
) -> None:
    done = ended(team.desk.start(*command, **{variable: "team:wrong"}))
    assert done.status == 1
    assert re.fullmatch(rf"Failed: the {server} server at \S+ refuses the login\. .*\n", done.err)


def test_nothing_listens_beyond_127_0_0_1(team: Team) -> None:
    ours = {int(team.admin[name]) for name in ("MLFLOW_PORT", "PREFECT_PORT", "PGPORT")}
    listening = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, port = local.rpartition(":")
            if state == "0A" and int(port, 16) in ours:
                listening[int(port, 16)] = address
    assert listening == dict.fromkeys(ours, "0100007F")


def test_data_in_the_bucket_is_read_again_only_where_its_etag_is_another(team: Team) -> None:
    write = (
        "import boto3, sys; boto3.client('s3').put_object("
        "Bucket='plumbline', Key=f'rows/{sys.argv[1]}.csv', Body=sys.argv[2].encode())"
    )
    counts = []
    keys = {name: team.admin[name] for name in team.admin if name.startswith("AWS_")}
    for name, last in (("a", "3,6"), ("b", "3,6"), ("b", "3,6"), ("b", "3,7")):
        rows = f"x,y\n1,2\n2,4\n{last}\n"
        team.shell(f".venv/bin/python -c \"{write}\" {name} '{rows}'")
        done = ended(team.desk.start(
            "flows.pipeline", "configs/norris.yaml", "data.path=s3://plumbline/rows",
            "training.epochs=5", "training.tolerance=null", "experiment=bucket", **keys,
        ))  # fmt: skip
        assert done.status == 0, done.err
        metrics = team.desk.runs("bucket")[0].data.metrics
        counts.append((metrics["files_new"], metrics["files_reused"]))
    assert counts == [(1, 0), (1, 1), (0, 2), (1, 1)]


def test_a_worker_retrains_on_the_schedule_that_it_was_handed(team: Team) -> None:
    section = blocks("Using the servers")
    (deploy,) = (text for _, text in section if "make deploy" in text)
    team.shell(deploy, team.desk.environment)
    (worker,) = (text for kind, text in section if kind == "worker")
    assert not team.desk.runs("retraining")
    with team.running("worker", worker):
        found = eventually(lambda: finished(team, "retraining"))
    run = found[-1]
    assert run.data.params["schedule.every"] == "60.0"
    (version, *_) = team.desk.client.search_model_versions("name = 'ozone'")
    assert version.tags["decision"] == "promoted"
    team.shell(
        "make history MODEL=ozone; make compare EXPERIMENT=retraining", team.desk.environment
    )
    pause = ".venv/bin/prefect --no-prompt deployment schedule pause --all"
    team.shell(pause, team.desk.environment)


def finished(team: Team, experiment: str) -> list[Run]:
    """The experiment's runs that finished, the newest first."""
    return [run for run in team.desk.runs(experiment) if run.info.status == "FINISHED"]


def test_what_to_watch_can_be_seen(team: Team) -> None:
    at_the_desk(team)
    (watch,) = blocks("Monitoring")
    printed = team.shell(watch[1])
    assert "FINISHED" in printed
    assert "COMPLETED" in printed


def test_a_restored_backup_after_an_upgrade_has_every_run_and_model(team: Team) -> None:
    at_the_desk(team)
    section = blocks("Backup and restore")
    predict = "make predict INPUT=rows.csv OUTPUT={}.csv"
    team.shell(predict.format("then"), team.desk.environment)
    team.shell(section[0][1])
    before = [run.info.run_id for run in team.desk.runs("tutorial")]
    for name in ("mlflow", "prefect"):
        team.kill(name)
    (restore,) = (text for kind, text in section if kind == "restore")
    team.shell(restore)
    for kind, text in blocks("Upgrade"):
        if not kind:
            team.shell(text)
    for name in ("mlflow", "prefect"):
        team.start(name)
    assert [run.info.run_id for run in team.desk.runs("tutorial")] == before
    team.shell(predict.format("now"), team.desk.environment)
    then, now = (team.desk.root / name for name in ("then.csv", "now.csv"))
    assert now.read_text() == then.read_text()
