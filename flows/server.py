"""A Prefect server for the length of one command.

`python -m flows.server PORT [scheduling]` is the server's process. It lives as long as its standard
input is open: when the command that started it ends, in whatever way, the server sets right what
the command left behind and ends, too. So nothing stays in the background, not even after kill -9.
A scheduling one also creates the runs that are due, and has the UI.
"""

import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from flows.environment import ROOT
from tasks.lease import exclusive

FAREWELL = b"done"
LOGIN_WANTED = (401, 403)
UI_PORT = 4200  # where make ui opens Prefect's UI; links in records lead there
PATIENCE_SECONDS = 60  # with a server that many use at once
START_SECONDS = 120  # a new database takes ten; a loaded machine several times that


@contextlib.contextmanager
def prefect_server(meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
    """A server to run flows against: the one PREFECT_API_URL names, else one of our own.

    Args:
        meanwhile: work to do while the server starts, such as slow imports.

    Raises:
        OSError: the server did not start, or the one named does not answer.
    """
    if os.environ.get("PREFECT_API_URL"):
        meanwhile()
        wait_healthy(os.environ["PREFECT_API_URL"], seconds=10)
        _check_login(os.environ["PREFECT_API_URL"])
        yield
        return
    process = None
    try:
        process = start_server(free_port(), meanwhile=meanwhile)
        yield
    finally:
        send_what_waits()
        os.environ.pop("PREFECT_API_URL", None)
        if process:
            process.communicate(FAREWELL)  # the server's sign to end; waits until it has


def start_server(
    port: int, *options: str, meanwhile: Callable[[], None] = lambda: None
) -> subprocess.Popen:
    """Start a server and wait until it answers; it ends when its stdin is closed.

    Sets PREFECT_API_URL, before prefect is imported: it reads its settings then, and without an
    address it would start one more server of its own.
    """
    making = contextlib.ExitStack()
    if not (Path(os.environ["PREFECT_HOME"]) / "prefect.db").exists():
        making.enter_context(exclusive("prefect"))  # two first starts at once would collide
    process = _spawn(port, *options)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    os.environ.setdefault("PREFECT_UI_URL", f"http://127.0.0.1:{UI_PORT}")  # this port will be gone
    try:
        meanwhile()
        with making:
            wait_healthy(os.environ["PREFECT_API_URL"], START_SECONDS, process)
    except BaseException:
        process.stdin.close()
        raise
    return process


def send_what_waits() -> None:
    """Prefect sends logs and events from threads, and at exit would wait long for a server gone."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=5)


def free_port(wanted: int = 0) -> int:
    """A port of 127.0.0.1 that nothing listens on: the wanted one where it is free."""
    with socket.socket() as probe:
        # as the servers do: connections that are closed already do not hold a port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _spawn(port: int, *options: str) -> subprocess.Popen:
    # A session of its own: Ctrl-C ends the command first, then the server by its closed input.
    with _log_file().open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(port), *options],
            cwd=ROOT,
            # it sets right what it can and holds nobody up: MLflow's server may be away
            env={**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _log_file() -> Path:
    """Where a server says what went wrong; a pipe would break when the command is killed."""
    return Path(os.environ["PREFECT_HOME"]) / "server.log"


def wait_healthy(api: str, seconds: float, process: subprocess.Popen | None = None) -> None:
    def check() -> None:
        if process and process.poll() is not None:
            said = _log_file().read_text(errors="replace").strip().splitlines()
            raise OSError(
                f"the Prefect server ended while it started: {said[-1] if said else ''}. "
                "Is .prefect/prefect.db damaged or of a newer Prefect? make clean-history "
                "removes it."
            )

    if not answers(f"{api}/health", seconds, check, PATIENCE_SECONDS):
        raise OSError(
            f"the Prefect server at {api} does not answer. Start it, or unset PREFECT_API_URL "
            "to let this command start its own."
        )


def answers(address: str, seconds: float, check: Callable[[], None], patience: float = 5) -> bool:
    """Whether an address answers within some seconds; check may raise why it never will.

    A server that takes a request gets `patience` seconds to answer it: it may only be busy.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urlopen(address, timeout=patience):
                return True
        except OSError as error:
            if isinstance(error, HTTPError) and error.code in LOGIN_WANTED:
                return True
        check()
        time.sleep(0.02)
    return False


def _check_login(api: str) -> None:
    """Raise OSError where the server named refuses whatever login Prefect's settings hold."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            client.api_version()
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in LOGIN_WANTED:
            raise
        raise OSError(
            f"the Prefect server at {api} refuses the login. Set PREFECT_API_AUTH_STRING."
        ) from None


def serve(port: int, scheduling: bool) -> None:
    """Be the server until standard input closes."""
    gc.disable()  # while a million objects are made that stay
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"  # for settle, before prefect
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # only the closed input ends it: the command's last states are still to come

    config = uvicorn.Config(
        create_app(ephemeral=not scheduling, final=True),
        host="127.0.0.1",
        port=port,
        log_level="error",
        timeout_graceful_shutdown=1 if scheduling else 5,  # a UI keeps its socket open
    )
    server, starter = Server(config), os.getppid()

    def end_with_the_command() -> None:
        if not sys.stdin.buffer.read():
            _wait_for_the_end_of(starter)
        try:
            from tasks.lease import settle

            settle()
        finally:
            server.should_exit = True

    threading.Thread(target=end_with_the_command, daemon=True).start()
    gc.freeze()
    gc.enable()
    server.run()
    os._exit(0)  # taking the interpreter apart would only keep the command waiting


def _wait_for_the_end_of(starter: int, seconds: float = 10) -> None:
    """A killed process's pipes close a moment before its locks: wait until it is gone."""
    deadline = time.monotonic() + seconds
    while os.getppid() == starter and time.monotonic() < deadline:
        time.sleep(0.01)


if __name__ == "__main__":
    serve(int(sys.argv[1]), scheduling=sys.argv[2:] == ["scheduling"])
