"""A Prefect server for the length of one command.

`python -m flows.support.server SOCKET [scheduling | ui]` is the server's process; SOCKET is the
number of the listening socket that it inherits. It lives as long as its standard input is open:
when the command that started it ends, in whatever way, the server sets right what the command left
behind and ends, too. So nothing stays in the background, not even after kill -9. A scheduling one
also creates the runs that are due; it and `ui` have the user interface.
"""

import contextlib
import fcntl
import gc
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from flows.support.companion import end_with_starter, start_companion
from tasks.databases import meaning
from tasks.lease import exclusive

FAREWELL = b"done"
LOGIN_WANTED = (401, 403)
COLLECT_SECONDS = 10
UI_PORT = 4200  # where make ui opens Prefect's UI; links in records lead there
PATIENCE_SECONDS = 60  # with a server that many use at once
START_SECONDS = 120  # a new database takes ten; a loaded machine several times that


@contextlib.contextmanager
def prefect_server(meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
    """A server to run flows against: the one PREFECT_API_URL names, else one of our own.

    Args:
        meanwhile: work to do while the server starts, such as slow imports.

    Raises:
        OSError: the server did not start; the one named does not answer, or refuses the login.
    """
    stale = "prefect" in sys.modules
    if given := os.environ.get("PREFECT_API_URL"):
        meanwhile()
        wait_for_given(given)
        yield
        return
    process = None
    try:
        process = start_server(listen(), meanwhile=meanwhile)
        if stale:
            _renew_settings()
        yield
    finally:
        send_what_waits()
        os.environ.pop("PREFECT_API_URL", None)
        if process:
            process.communicate(FAREWELL)  # the server's sign to end; waits until it has


def _renew_settings() -> None:
    """Let Prefect read the environment again, as in a notebook that has imported it before."""
    from prefect import context

    context.GLOBAL_SETTINGS_CONTEXT = context.root_settings_context()


def start_server(
    listener: socket.socket, *options: str, meanwhile: Callable[[], None] = lambda: None
) -> subprocess.Popen:
    """Start a server and wait until it answers; it ends when its stdin is closed.

    The socket becomes the server's: were it to open a port of its own, another server that is
    faster would answer in its place.

    Sets PREFECT_API_URL, before prefect is imported: it reads its settings then, and without an
    address it would start one more server of its own.
    """
    making = contextlib.ExitStack()
    if not (Path(os.environ["PREFECT_HOME"]) / "prefect.db").exists():
        making.enter_context(exclusive("prefect"))  # two first starts at once would collide
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
    log = _log_file()
    begin = log.stat().st_size if log.exists() else 0
    with listener:
        process = _spawn(listener.fileno(), *options)

    def check() -> None:
        if process.poll() is not None:
            said = log.read_bytes()[begin:] if log.exists() else b""
            raise OSError(_why_it_ended(said.decode(errors="replace")))

    os.environ.setdefault("PREFECT_UI_URL", f"http://127.0.0.1:{UI_PORT}")  # this port will be gone
    try:
        meanwhile()
        with making:
            wait_healthy(os.environ["PREFECT_API_URL"], START_SECONDS, check)
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


def listen(wanted: int = 0) -> socket.socket:
    """A socket that listens on 127.0.0.1: at the wanted port where that is free."""
    try:
        return socket.create_server(("127.0.0.1", wanted))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def free_port(wanted: int = 0) -> int:
    """A port of 127.0.0.1 that nothing listens on: the wanted one where it is free."""
    with listen(wanted) as probe:
        return probe.getsockname()[1]


def _spawn(listener: int, *options: str) -> subprocess.Popen:
    # Ctrl-C ends the command first, then the server by its closed input.
    with _log_file().open("a") as log:
        fcntl.flock(log, fcntl.LOCK_SH)  # until the server ends: clean-history looks
        return start_companion(
            *("flows.support.server", str(listener), *options),
            pass_fds=(listener,),
            # it sets right what it can and holds nobody up: MLflow's server may be away
            env={**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
            stdout=log,
            stderr=log,
        )


def _log_file() -> Path:
    """Where a server says what went wrong; a pipe would break when the command is killed."""
    return Path(os.environ["PREFECT_HOME"]) / "server.log"


def _why_it_ended(log: str) -> str:
    """What a server's log says of its end, in one line: about its database, else the last error."""
    path = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    if known := meaning(log, path, "Prefect", "It holds Prefect's record of flow runs, no model."):
        return f"the Prefect server ended while it started: {known}"
    errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*", log, re.MULTILINE)
    last = errors[-1] if errors else "it did not say why"
    return f"the Prefect server ended while it started: {last}. Its log: {_log_file()}"


def wait_healthy(api: str, seconds: float, check: Callable[[], None] = lambda: None) -> None:
    """Wait until a server answers; check may raise why it never will."""
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


def wait_for_given(api: str) -> None:
    """Wait for the server that PREFECT_API_URL names.

    Raises:
        OSError: it does not answer, or refuses whatever login Prefect's settings hold.
    """
    wait_healthy(api, seconds=10)
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


def serve(listener: socket.socket, kind: str = "") -> None:
    """Be the server until standard input closes; its kind is "", "scheduling" or "ui"."""
    gc.disable()  # from here on, it is done aside
    import uvicorn
    from prefect.server.api.server import create_app

    from flows.support.guard import Guard

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # only the closed input ends it: the command's last states are still to come

    config = uvicorn.Config(
        Guard(create_app(ephemeral=not kind, webserver_only=kind == "ui", final=True)),
        log_level="error",
        timeout_graceful_shutdown=1 if kind else 5,  # a UI keeps its socket open
    )
    server, starter = Server(config), os.getppid()

    def end(said: bytes) -> None:
        if not said:
            _wait_for_the_end_of(starter)
        try:
            from tasks.reconciliation import reconcile

            reconcile()
        finally:
            server.should_exit = True

    end_with_starter(end)
    gc.freeze()  # a million objects that stay
    threading.Thread(target=_collect_garbage, daemon=True).start()
    server.run(sockets=[listener])
    os._exit(0)  # taking the interpreter apart would only keep the command waiting


def _collect_garbage() -> None:
    """Look for unreachable objects now and then, outside the thread that answers.

    A database cursor among them waits until its connection is idle, and that may be waiting for
    SQLite's lock. In the thread of the event loop this would keep the very transaction from ending
    that holds the lock: the server stood still for the minute after which SQLite gives up.
    """
    while True:
        time.sleep(COLLECT_SECONDS)
        gc.collect()


def _wait_for_the_end_of(starter: int, seconds: float = 10) -> None:
    """A killed process's pipes close a moment before its locks: wait until its id is gone.

    To have a new parent says less: children are handed on once the last of the killed process's
    threads is on its way out, and that one may still be closing files.
    """
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; or already another's
        while time.monotonic() < deadline:
            os.kill(starter, 0)
            time.sleep(0.01)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:])
