"""The server that follows an alias: no request fails while the champion changes."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from mlflow import MlflowClient

from tests.tasks.test_registry import add, logged, roll_back

ROOT = Path(__file__).resolve().parents[2]


class Asking(threading.Thread):
    """Asks a server without a pause; counts the answers by (status, version, prediction)."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.answers: Counter[tuple[int, str, float]] = Counter()
        self.failed: list[Exception] = []
        self.done = threading.Event()
        kind = {"Content-Type": "application/json"}
        self._request = Request(f"{address}/invocations", b'{"inputs": [{"x": 1.0}]}', kind)

    def run(self) -> None:
        while not self.done.is_set():
            try:
                with urlopen(self._request, timeout=60) as answer:
                    predicted = json.load(answer)["predictions"][0][0]
                    self.answers[answer.status, answer.headers["X-Model-Version"], predicted] += 1
            except (OSError, ValueError) as error:
                self.failed.append(error)

    def wait_for(self, version: str) -> None:
        """Until ten answers came from a version."""
        before = self._from(version)
        wait_until(lambda: self._from(version) >= before + 10)

    def _from(self, version: str) -> int:
        return sum(n for (_, named, _), n in self.answers.copy().items() if named == version)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def server(client: MlflowClient) -> Iterator[subprocess.Popen]:
    """`make serve-model` of the champion of m, version 1, which has the weight 1."""
    add(of=logged(1.0))
    command = [sys.executable, "-m", "flows.serve", "--model", "models:/m@champion"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_promotions_and_rollbacks_are_followed_without_a_failed_request(
    client: MlflowClient, server: subprocess.Popen
) -> None:
    address = re.search(r"http://[\d.]+:\d+", server.stdout.readline())[0]

    def health() -> dict[str, str | None]:
        with urlopen(f"{address}/health", timeout=60) as answer:
            return json.load(answer)

    asking = Asking(address)
    asking.start()
    asking.wait_for("1")
    uri, run_id = logged(2.0)
    add(of=(uri, run_id))
    asking.wait_for("2")
    told = {"model": "models:/m@champion", "version": "2", "run": run_id, "error": None}
    assert health() == told
    roll_back()
    asking.wait_for("1")
    files = Path(client.get_logged_model(uri.removeprefix("models:/")).artifact_location)
    shutil.rmtree(files / "artifacts")
    roll_back("2")
    wait_until(lambda: health()["error"] is not None)
    assert "models:/m/2" in health()["error"]
    assert health()["version"] == "1"
    add(of=logged(3.0))
    asking.wait_for("3")
    assert health()["error"] is None
    asking.done.set()
    asking.join()
    assert not asking.failed
    assert {*asking.answers} == {(200, "1", 1.5), (200, "2", 2.5), (200, "3", 3.5)}
    server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=60)
    assert server.returncode == 0
    assert [line.split()[2] for line in out.splitlines() if "is now being served" in line] == [
        "models:/m/2", "models:/m/1", "models:/m/3",
    ]  # fmt: skip
    assert err.startswith("models:/m/1 is still being served, because MODEL must be a model")
