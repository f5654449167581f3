"""The Prefect server that a command's flows run against: the one PREFECT_API_URL names, or our own.

Our own is a process of flows/support/web.py with this checkout's database. When the command that
started it has ended, for whatever reason, and any retraining that the command started has ended
too, the server reconciles what they left behind and exits. So nothing stays in the background,
not even after kill -9.
"""

import contextlib
import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from flows.support.companion import start_companion, wait_until
from tasks.databases import meaning
from tasks.lease import exclusive

FAREWELL = b"done"
LOGIN_WANTED = (401, 403)
UI_PORT = 4200  # where make ui opens Prefect's UI; links in records lead there
PATIENCE_SECONDS = 60  # for an answer of a server that many people use at once
START_SECONDS = 120  # creating a new database takes ten, several times that on a busy machine
END_SECONDS = 2.5  # for the server of a schedule, which must stop within ten


class Server:
    """The server that PREFECT_API_URL names, or our own once it is started.

    Args:
        kind: the kind of our own server, as in flows/support/web.py.

    Attributes:
        process: of our own server; None if PREFECT_API_URL names another.
    """

    def __init__(self, kind: str) -> None:
        self.process: subprocess.Popen | None = None
        self._kind = kind

    @property
    def address(self) -> str:
        """Of the UI."""
        return os.environ["PREFECT_API_URL"].removesuffix("/api")

    def start(self, listener: socket.socket, meanwhile: Callable[[], None]) -> None:
        """Start our own server and wait until it answers.

        The server inherits the listening socket. If it opened a port itself, another process could
        take the port first and answer in its place.

        Sets PREFECT_API_URL, which must happen before prefect is imported: Prefect reads its
        settings on import, and without an address it would start another server.
        """
        self._port = listener.getsockname()[1]
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{self._port}/api"
        with contextlib.ExitStack() as making, _log_file().open("a+b") as log:
            if not (Path(os.environ["PREFECT_HOME"]) / "prefect.db").exists():
                making.enter_context(exclusive("prefect"))  # two servers would create the database
            fcntl.flock(log, fcntl.LOCK_SH)  # until the server ends, for make clean-history
            begin = log.tell()
            with listener:
                # Ctrl-C ends the command, whose end closes the server's input
                process = start_companion(
                    *("flows.support.web", str(listener.fileno()), self._kind),
                    pass_fds=(listener.fileno(),),
                    # reconciling must not wait for an MLflow server that is down
                    env={**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
                    stdout=log,
                    stderr=log,
                )
            try:
                meanwhile()
                if not wait_until(_check_health, START_SECONDS, process):
                    log.seek(begin)
                    raise OSError(_start_error(process, log.read().decode(errors="replace")))
            except BaseException:
                process.stdin.close()
                raise
        self.process = process

    def keep(self) -> None:
        """Restart our own server if it has ended.

        Raises:
            OSError: it does not start.
        """
        if self.process and self.process.poll() is not None:
            from tasks.screen import note

            # on the same port, which the current run and the UI use
            self.start(socket.create_server(("127.0.0.1", self._port)), lambda: None)
            note("the Prefect server had ended; it was restarted")

    def end(self) -> None:
        """Stop our own server and wait for its end."""
        if self.process:
            try:
                seconds = END_SECONDS if self._kind == "scheduling" else None
                self.process.communicate(FAREWELL, seconds)
            except (subprocess.TimeoutExpired, OSError):
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def prefect_server(
    meanwhile: Callable[[], None] = lambda: None, kind: str = "command", port: int = 0
) -> Iterator[Server]:
    """Provide a server to run flows against: the one PREFECT_API_URL names, or our own.

    Args:
        meanwhile: work to do while the server starts, such as slow imports.
        kind: the kind of our own server, as in flows/support/web.py.
        port: the preferred port of our own server; 0: any free one.

    Raises:
        OSError: our own server did not start; the named one does not answer or refuses the login.
    """
    given = os.environ.get("PREFECT_API_URL")
    server, stale = Server(kind), "prefect" in sys.modules
    try:
        if given:
            meanwhile()
            _wait_for_named_server()
        else:
            # for links in records: a command's own server does not outlive it
            os.environ.setdefault("PREFECT_UI_URL", f"http://127.0.0.1:{UI_PORT}")
            server.start(listen(port), meanwhile)
            if stale:  # a notebook had imported Prefect already: read the environment again
                from prefect import context

                context.GLOBAL_SETTINGS_CONTEXT = context.root_settings_context()
        yield server
    finally:
        _flush_workers()
        if not given:
            os.environ.pop("PREFECT_API_URL", None)
        server.end()


def _flush_workers() -> None:
    """Send queued logs and events now. Prefect's threads would send them at exit, and wait long for
    a server that is gone."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        with ThreadPoolExecutor(1) as apart:  # beside a notebook's event loop it would not wait
            for worker in (APILogWorker, EventsWorker):
                apart.submit(worker.drain_all, timeout=5).result()


def listen(wanted: int = 0) -> socket.socket:
    """A socket that listens on 127.0.0.1, on the wanted port if that is free."""
    try:
        return socket.create_server(("127.0.0.1", wanted))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with listen() as probe:
        return probe.getsockname()[1]


def _log_file() -> Path:
    """The file for the server's output; a pipe would break when the command is killed."""
    return Path(os.environ["PREFECT_HOME"]) / "server.log"


def _start_error(process: subprocess.Popen, log: str) -> str:
    """Why our own server did not start, in one line: its database or the last error in its log."""
    if process.poll() is None:
        return _no_answer()
    path = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    if known := meaning(log, path, "Prefect", "It holds Prefect's record of flow runs, no model."):
        return f"the Prefect server ended while it started: {known}"
    errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*", log, re.MULTILINE)
    last = errors[-1] if errors else "it did not say why"
    return f"the Prefect server ended while it started: {last}. Its log: {_log_file()}"


def _no_answer() -> str:
    return (
        f"the Prefect server at {os.environ['PREFECT_API_URL']} does not answer. Start it, or "
        "unset PREFECT_API_URL to let this command start its own."
    )


def _check_health() -> None:
    """Raise OSError if the server does not answer. Refusing the login counts as an answer."""
    try:
        urlopen(f"{os.environ['PREFECT_API_URL']}/health", timeout=PATIENCE_SECONDS).close()
    except HTTPError as error:
        if error.code not in LOGIN_WANTED:
            raise


def _wait_for_named_server() -> None:
    """Wait for the server that PREFECT_API_URL names, and check that it accepts the login."""
    if not wait_until(_check_health, seconds=10):
        raise OSError(_no_answer())
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            client.api_version()
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in LOGIN_WANTED:
            raise
        raise OSError(
            f"the Prefect server at {os.environ['PREFECT_API_URL']} refuses the login. Set "
            "PREFECT_API_AUTH_STRING."
        ) from None
