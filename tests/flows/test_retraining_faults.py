"""Retraining over days and under faults; docs/retraining.md names these tests in a table."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import mlflow.pyfunc
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from mlflow import MlflowClient

from flows.support.server import free_port
from tests.flows.conftest import Workspace, eventually

pytestmark = pytest.mark.slow
Start = Callable[..., subprocess.Popen]
DAYS = """
experiment: days
data: {kind: table, path: days, target: y, test_fraction: 0.3}
training: {learning_rate: auto, tolerance: 1e-9}
registry: {model: days}
drift: {max_shift: 0.5, action: stop}
"""


def arrive(workspace: Workspace, name: str, rows: int, shift: float = 0.0) -> Path:
    """A new file of y = 1 + x · (1, ..., 5) + noise."""
    folder = workspace.root / "days"
    folder.mkdir(exist_ok=True)
    drawn = np.random.default_rng(len(name) + rows)
    x = drawn.normal(size=(rows, 5))
    x[:, 0] += shift
    y = 1 + x @ np.arange(1, 6) + 2 * drawn.normal(size=rows)
    columns = {f"x{i}": x[:, i] for i in range(5)} | {"y": y}
    pacsv.write_csv(pa.table(columns), folder / name)
    return folder / name


def aliases(workspace: Workspace, model: str) -> dict[str, int]:
    return dict(workspace.client.get_registered_model(model).aliases)


@pytest.fixture(scope="module")
def days(workspace: Workspace) -> Workspace:
    """Two days: a model from few rows, then a better one from many."""
    (workspace.root / "days.yaml").write_text(DAYS)
    arrive(workspace, "1.csv", rows=60)
    first = workspace.pipeline("days.yaml")
    assert "Promoted version 1 of 'days'" in first.out, first.err
    arrive(workspace, "2.csv", rows=4_000)
    second = workspace.pipeline("days.yaml")
    assert "Promoted version 2 of 'days': better by" in second.out, second.err
    return workspace


def test_what_was_rolled_back_comes_back_with_other_data_only(days: Workspace) -> None:
    assert days.run("flows.rollback", "days").status == 0
    assert aliases(days, "days") == {"champion": 1, "previous": 2}
    same = days.pipeline("days.yaml")
    assert same.status == 0
    assert "Kept the champion (version 1)" in same.out
    assert "only other data or another configuration" in same.out
    assert aliases(days, "days") == {"champion": 1, "previous": 2}
    arrive(days, "3.csv", rows=4_001)
    other = days.pipeline("days.yaml")
    assert "Promoted version 4" in other.out, other.err
    assert aliases(days, "days") == {"champion": 4, "previous": 1}
    told = days.run("flows.history", "days").out
    assert [line.split()[0] for line in told.splitlines()[1:]] == ["1", "2", "1", "3", "4"]


def test_data_that_drifted_stops_the_run_before_it_trains_and_registers_nothing(
    days: Workspace,
) -> None:
    before = days.client.search_model_versions("name='days'")
    bad = arrive(days, "4.csv", rows=40_000, shift=5)
    done = days.pipeline("days.yaml")
    assert done.status == 2
    assert "the mean of column 'x0' moved from" in done.err
    assert "drift.max_shift: 0.5" in done.err
    assert len(done.err.splitlines()) == 1
    run = days.runs("days")[0]
    assert (run.info.status, "loss" in run.data.metrics) == ("FAILED", False)
    assert run.data.metrics["drift_max_shift"] > 0.5
    assert days.client.search_model_versions("name='days'") == before
    warned = days.pipeline("days.yaml", "drift.action=warn", "training.epochs=1")
    assert warned.status == 0
    assert "Note: since version" in warned.out
    assert "x0" in days.runs("days")[0].data.tags["drift"]
    bad.unlink()


def test_a_champion_that_cannot_be_compared_stays_and_a_damaged_one_until_a_model_is_no_worse(
    days: Workspace,
) -> None:
    champion = aliases(days, "days")["champion"]
    without = "data.features=[x0, x1, x2, x3]"
    done = days.pipeline("days.yaml", without, "drift.action=warn")
    assert f"Kept the champion (version {champion})" in done.out, done.err
    assert "today's data has no numeric feature 'x4'" in done.out
    source = days.client.get_model_version("days", str(champion)).source
    place = days.client.get_logged_model(source.removeprefix("models:/")).artifact_location
    next(Path(place).rglob("model.pt2")).unlink()
    worse = days.pipeline("days.yaml", without, "drift.action=warn")
    assert f"Kept the champion (version {champion}) of 'days'" in worse.out, worse.err
    assert "cannot be loaded (" in worse.out
    assert "and this model is worse" in worse.out
    assert f"WARNING: version {champion} cannot be loaded" in worse.out
    assert aliases(days, "days")["champion"] == champion
    replaced = days.pipeline("days.yaml", "drift.action=warn")
    assert "and this model is no worse" in replaced.out, replaced.err
    assert aliases(days, "days")["previous"] == champion
    refused = days.run("flows.rollback", "days")
    assert (refused.status, refused.err.startswith("TO must be a model")) == (2, True)


def test_housekeeping_leaves_the_newest_the_champion_and_what_is_still_read(
    days: Workspace,
) -> None:
    storage = days.root / ".prefect" / "storage"
    arrive(days, "gone.csv", rows=50)
    assert days.pipeline("days.yaml", "drift.action=warn").status == 0
    (days.root / "days" / "gone.csv").unlink()
    before = {path.name for path in storage.glob("factor-*")}
    for _ in range(2):
        assert days.pipeline("days.yaml", "registry.keep=1").status == 0
    versions = {int(v.version) for v in days.client.search_model_versions("name='days'")}
    live = aliases(days, "days")
    assert versions == {*live.values(), max(versions)}
    after = {path.name for path in storage.glob("factor-*")}
    assert after < before
    assert days.pipeline("days.yaml").status == 0
    counts = days.runs("days")[0].data.metrics
    assert (counts["files_new"], counts["files_reused"]) == (0, 3)
    told = days.run("flows.history", "days").out
    assert "promoted by run" in told.splitlines()[1]


@contextmanager
def watched(client: MlflowClient, model: str) -> Iterator[None]:
    """Ask for the champion all the time; it must be there whenever it is asked for."""
    ended, missed = threading.Event(), []

    def ask() -> None:
        while not ended.wait(0.01):
            try:
                client.get_model_version_by_alias(model, "champion")
            except Exception as error:
                missed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert missed == []


def check_whole(client: MlflowClient, model: str, uri: str) -> None:
    """One champion that loads and follows the last move; every version complete and loadable."""
    mlflow.set_tracking_uri(uri)
    registered = client.get_registered_model(model)
    versions = client.search_model_versions(f"name='{model}'")
    for version in versions:
        assert version.tags["decision"] in ("promoted", "kept")
        assert version.tags["reason"]
        mlflow.pyfunc.load_model(f"models:/{model}/{version.version}")
    promoted = [int(v.version) for v in versions if v.tags["decision"] == "promoted"]
    assert registered.aliases["champion"] == max(promoted)


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_around_the_promotion_leaves_it_whole_or_not_begun(
    workspace: Workspace, started: Start, seed: int
) -> None:
    config = ("configs/retraining.yaml", "registry.model=killed", "experiment=killed-promotion",
              "training.tolerance=null", "training.learning_rate=0.01",
              "registry.require.test_rmse.max=1e6")  # fmt: skip
    if seed == 0:
        done = workspace.pipeline(*config, "training.epochs=50")
        assert "Promoted version 1" in done.out, done.err
    moment = random.Random(seed).uniform(0, 1.5)
    print(f"seed {seed}: killed {moment:.3f} s after the evaluation")
    with watched(workspace.client, "killed"):
        process = started("flows.pipeline", *config, f"training.epochs={60 + 10 * seed}")
        while not process.stdout.readline().startswith("Held out"):
            assert process.poll() is None
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        eventually(lambda: not workspace.processes())
    check_whole(workspace.client, "killed", f"sqlite:///{workspace.root / 'mlflow.db'}")
    assert {run.info.status for run in workspace.runs("killed-promotion")} <= {"FINISHED", "KILLED"}


def test_a_server_keeps_the_registry_as_well_as_a_file(
    workspace: Workspace, started: Start, tmp_path: Path
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    started(
        "mlflow", "server", "--workers", "1", "--host", "127.0.0.1",
        "--port", address.rpartition(":")[2], "--backend-store-uri", f"sqlite:///{tmp_path}/m.db",
        "--artifacts-destination", str(tmp_path / "artifacts"),
        "--uvicorn-opts", "--log-level=error",  # nobody reads its log, and a full pipe blocks it
    )  # fmt: skip

    def up() -> bool:
        try:
            return urlopen(f"{address}/health", timeout=5).status == 200
        except OSError:
            return False

    eventually(up)
    kept = "Kept the champion (version 1)"
    for out in ("Promoted version 1", kept, kept):
        done = workspace.run(
            "flows.pipeline", "configs/retraining.yaml", "registry.keep=1",
            MLFLOW_TRACKING_URI=address,
        )  # fmt: skip
        assert (done.status, out in done.out) == (0, True), done.err
    client = MlflowClient(address)
    versions = client.search_model_versions("name='ozone'")
    assert sorted(int(version.version) for version in versions) == [1, 3]
    assert len(list((tmp_path / "artifacts").rglob("model.pt2"))) == 2
    moved = workspace.run("flows.rollback", "ozone", "--to", "3", MLFLOW_TRACKING_URI=address)
    assert moved.status == 0, moved.err
    found = client.get_registered_model("ozone").aliases  # text here, numbers from SQLite
    assert {alias: int(version) for alias, version in found.items()} == {
        "champion": 3,
        "previous": 1,
    }
    told = workspace.run("flows.history", "ozone", MLFLOW_TRACKING_URI=address)
    assert "moved forward by" in told.out, told.err
