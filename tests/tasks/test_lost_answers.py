"""A tracking server's answer that is lost: the client asks again, and nothing is there twice."""

import http.client
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient

from flows.support.server import free_port
from plumbline.config.schema import Config
from tasks.tracking.models import load_profile, load_stored
from tasks.tracking.run import tracked_run
from tasks.tracking.store import StoreError, check_store
from tests.tasks.test_registry import logged

pytestmark = pytest.mark.slow
CONFIG = Config.model_validate({"experiment": "lost", "data": {"kind": "synthetic", "rows": 4}})


@dataclass
class Lossy:
    """A proxy that loses the answers to some requests; what they ask for is done.

    Attributes:
        address: its own.
        lose: for the end of a request's path, how many answers are still to be lost.
        failed: the requests that the server answered with 5xx.
    """

    address: str
    lose: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """MLflow's server on a SQLite store; yields its port."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = ["-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    path = shutil.copy(empty_store, folder)
    store = ["--backend-store-uri", f"sqlite:///{path}", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, *command, *store],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            assert process.poll() is None
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def lossy(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lossy]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection("127.0.0.1", server, timeout=60)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            told = answer.read()
            if answer.status >= 500:
                proxy.failed.append(self.path)
            name = self.path.partition("?")[0].rpartition("/")[2]
            if proxy.lose.get(name):
                proxy.lose[name] -= 1
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy = Lossy(f"http://127.0.0.1:{listening.server_port}")
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    yield proxy
    listening.shutdown()
    listening.server_close()


def test_every_loss_is_there_once_in_one_run(lossy: Lossy) -> None:
    lossy.lose |= {"create": 1, "log-batch": 3, "update": 1}
    with tracked_run(CONFIG, "lost", "cpu", "flow", "lease") as run:
        for epoch in range(1, 2_501):
            run.losses.add(epoch, 1 / epoch)
    assert set(lossy.lose.values()) == {0}
    client = MlflowClient()
    history = client.get_metric_history(run.id, "loss")
    assert [(m.step, m.value) for m in history] == [(n, 1 / n) for n in range(1, 2_501)]
    found = client.search_runs([run.experiment_id])
    assert [(each.info.run_id, each.info.status) for each in found] == [(run.id, "FINISHED")]


def test_a_model_and_a_portrait_are_read_without_a_request_that_fails(lossy: Lossy) -> None:
    """MLflow asks again for minutes where it gets a 5xx."""
    _, run_id = logged(weight=2.5)
    assert load_stored(f"runs:/{run_id}/model").module.weights.tolist() == [2.5]
    assert load_profile(run_id) is None
    assert lossy.failed == []


def log_while_answers_are_lost(lossy: Lossy) -> None:
    with tracked_run(CONFIG, "away", "cpu", "flow", "lease") as run:
        lossy.lose["log-batch"] = 99
        run.log({"metric": 1.0})


def test_a_server_that_is_not_there_is_said_at_once_and_one_that_stays_away_in_the_end(
    lossy: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_store()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    with pytest.raises(StoreError, match="does not answer any more"):
        log_while_answers_are_lost(lossy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match=r"does not answer\. Start it"):
        check_store()
