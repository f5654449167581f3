"""Outages, moves and deletions around the gate: no champion is replaced unseen."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from flows.support.server import free_port
from tests.flows.conftest import Done, Workspace, cloned, eventually

pytestmark = pytest.mark.slow
CONFIG = ("configs/retraining.yaml", "registry.require.test_rmse.max=1e9")
WORSE = (
    *CONFIG, "training.learning_rate=0.1", "training.epochs=10", "training.tolerance=null",
)  # fmt: skip
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
}


def champion(workspace: Workspace, model: str) -> int:
    """The version that `champion` names; 0 if none does."""
    return int(workspace.client.get_registered_model(model).aliases.get("champion", 0))


def failed_in_one_line(done: Done) -> bool:
    return done.status == 1 and done.err.startswith("Failed: ") and done.err.count("\n") == 1


def test_a_renamed_checkout_keeps_its_champion_and_a_copy_leaves_the_original_alone(
    tmp_path: Path,
) -> None:
    with cloned(tmp_path / "before") as made:
        assert "Promoted version 1" in made.pipeline(*CONFIG).out
        assert "equal to 1e-5" in made.pipeline(*CONFIG).out
    renamed = Workspace(made.root.rename(tmp_path / "after"))
    worse = renamed.pipeline(*WORSE)
    assert "Kept the champion (version 1) of 'ozone' over version 3" in worse.out, worse.err
    assert "it is no better than the champion" in worse.out
    assert not made.root.exists()
    copy = Workspace(Path(shutil.copytree(renamed.root, tmp_path / "copy", symlinks=True)))
    before = {path: path.read_bytes() for path in renamed.root.rglob("*") if path.is_file()}
    assert "Kept the champion (version 1)" in copy.pipeline(*WORSE).out
    assert copy.run("flows.rollback", "ozone", "--to", "4").status == 0
    after = {path: path.read_bytes() for path in renamed.root.rglob("*") if path.is_file()}
    assert before == after


def test_a_champion_whose_files_are_away_is_not_damaged(workspace: Workspace) -> None:
    named = "registry.model=away"
    assert workspace.pipeline(*CONFIG, named).status == 0
    source = workspace.client.get_model_version("away", "1").source
    model = workspace.client.get_logged_model(source.removeprefix("models:/"))
    place = Path(model.artifact_location)
    hidden = place.rename(place.parent / "away")
    for config in (WORSE, CONFIG):
        done = workspace.pipeline(*config, named)
        assert failed_in_one_line(done), done.err
        assert "the store has no file of models:/away/1" in done.err
        assert champion(workspace, "away") == 1
    assert len(workspace.client.search_model_versions("name='away'")) == 1
    hidden.rename(place)
    decided = workspace.pipeline(*WORSE, named)
    assert "Kept the champion (version 1) of 'away' over version 2" in decided.out, decided.err


def test_after_the_alias_was_deleted_a_model_must_beat_what_was_live(workspace: Workspace) -> None:
    named = "registry.model=deleted"
    assert workspace.pipeline(*CONFIG, named).status == 0
    workspace.client.delete_registered_model_alias("deleted", "champion")
    worse = workspace.pipeline(*WORSE, named)
    assert "Registered version 2 of 'deleted', which has no champion" in worse.out, worse.err
    assert "compared with version 1, the last champion" in worse.out
    assert champion(workspace, "deleted") == 0
    told = workspace.run("flows.history", "deleted").out.splitlines()
    assert any("deleted by hand" in line and line.split()[0] == "none" for line in told)
    assert workspace.run("flows.rollback", "deleted", "--to", "1").status == 0
    assert champion(workspace, "deleted") == 1


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen]:
    """A tracking server that keeps everything in a folder; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1",
         "--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/m.db",
         "--artifacts-destination", str(folder / "artifacts")],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def up() -> bool:
        try:
            return urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
        except OSError:
            return False

    try:
        eventually(up)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    """Kill a server and the worker processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_server_that_goes_away_around_a_promotion_leaves_the_champion(
    workspace: Workspace, tmp_path: Path
) -> None:
    port = free_port()
    environment = workspace.environment | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    team = Workspace(workspace.root, environment)
    moments = random.Random(1)
    with ExitStack() as servers:
        server = servers.enter_context(mlflow_server(tmp_path, port))
        assert "Promoted version 1" in team.pipeline(*CONFIG).out
        for _ in range(2):
            moment = moments.uniform(0, 3)
            run = team.start("flows.pipeline", *WORSE, **IMPATIENT)
            while not run.stdout.readline().startswith("Held out"):
                assert run.poll() is None
            time.sleep(moment)
            stop(server)
            out, err = run.communicate(timeout=180)
            print(
                f"the server went away {moment:.3f} s after the evaluation: {run.returncode} {err}"
            )
            assert run.returncode in (0, 1)
            assert run.returncode == 0 or failed_in_one_line(Done(1, out, err)), err
            server = servers.enter_context(mlflow_server(tmp_path, port))
            assert champion(team, "ozone") == 1
        decided = team.pipeline(*WORSE)
        assert "Kept the champion (version 1)" in decided.out, decided.err
