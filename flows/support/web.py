"""Our own web servers, behind a guard: they answer local programs and their own pages only.

They listen on 127.0.0.1, but a browser lets any web page send requests there: as a plain POST,
which a server executes whatever its CORS settings say, or under a host name of the page's own that
resolves to 127.0.0.1 (DNS rebinding).

`python -m flows.support.web SOCKET KIND` is a Prefect server's process (flows/support/server.py);
SOCKET is the number of the listening socket that it inherits.
"""

import asyncio
import contextlib
import gc
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from flows.support.companion import end_with_starter

HOST = re.compile(rb"(127\.0\.0\.1|localhost)(?P<port>:\d+)?")
ORIGIN = re.compile(rb"http://" + HOST.pattern)
REFUSAL = b"Only pages and programs of this machine are answered: Host or Origin is another.\n"
COLLECT_SECONDS = 10
PATIENCE_SECONDS = 5  # for requests in progress
STOPPED = "stopped:"  # with the time: tag of a deployment whose scheduler was stopped


class Guard:
    """An ASGI application that refuses requests of foreign web pages with status 403.

    Host must be 127.0.0.1 or localhost, with any port (it may be forwarded); Origin, which programs
    do not send, must be one of the two with the same port. The same holds for WebSockets.

    Args:
        app: the application to guard.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket") or is_own(scope["headers"]):
            await self._app(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
        else:
            text = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": text})
            await send({"type": "http.response.body", "body": REFUSAL})


def is_own(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request names this machine, and comes from a program or from the server's page.

    Args:
        headers: (name in lower case, value) as ASGI has them.
    """
    sent = list(headers)
    hosts = [HOST.fullmatch(value) for name, value in sent if name == b"host"]
    origins = [ORIGIN.fullmatch(value) for name, value in sent if name == b"origin"]
    if len(hosts) != 1 or not all([*hosts, *origins]):
        return False
    return all(origin["port"] == hosts[0]["port"] for origin in origins)


def answer(app: Any, listener: socket.socket, beside: subprocess.Popen | None = None) -> None:
    """Serve an application until it is interrupted, and finish the requests in progress.

    Args:
        app: an ASGI application.
        listener: the socket to answer on.
        beside: a process whose end also ends the server.
    """
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(Guard(app), log_level="error", timeout_graceful_shutdown=PATIENCE_SECONDS)
    )

    def end_with_it() -> None:
        beside.wait()
        server.should_exit = True

    if beside:
        threading.Thread(target=end_with_it, daemon=True).start()
    server.run([listener])


def serve_prefect(listener: socket.socket, kind: str) -> None:
    """Run the Prefect server of a command until standard input closes.

    Args:
        listener: the socket to answer on.
        kind: "command"; "scheduling", which also creates the runs that are due; "ui". The last two
            serve the user interface.
    """
    gc.disable()  # _collect_garbage does it in a thread
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # ended only by its closed input: the command still has to send its last states

    app = create_app(ephemeral=kind == "command", webserver_only=kind == "ui", final=True)
    config = uvicorn.Config(
        Guard(app),
        log_level="error",
        # a page of the UI keeps its socket open
        timeout_graceful_shutdown=PATIENCE_SECONDS if kind == "command" else 1,
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
    gc.freeze()  # a million objects that are never garbage
    threading.Thread(target=_collect_garbage, daemon=True).start()
    server.run(sockets=[listener])
    if kind == "scheduling":
        asyncio.run(_delete_planned_runs())
    os._exit(0)  # the command waits, and a regular shutdown takes seconds


async def _delete_planned_runs() -> None:
    """Delete the runs that were planned for schedules that have been stopped since.

    Prefect reads the active schedules in one transaction and writes their runs in another, so runs
    can appear after a schedule was suspended. They would be shown as late.
    """
    from prefect.server.database import provide_database_interface
    from prefect.server.models.deployments import read_deployments, update_deployment
    from prefect.server.schemas.actions import DeploymentUpdate

    async with provide_database_interface().session_context(begin_transaction=True) as session:
        for each in await read_deployments(session):
            if any(tag.startswith(STOPPED) for tag in each.tags):
                # an update deletes what is planned
                await update_deployment(session, each.id, DeploymentUpdate(tags=each.tags))


def _collect_garbage() -> None:
    """Collect garbage regularly, outside the thread of the event loop.

    Collecting a database cursor waits until its connection is idle, and the connection may be
    waiting for SQLite's lock. In the thread of the event loop, this would block the transaction
    that holds the lock: the server hung for the minute after which SQLite gives up.
    """
    while True:
        time.sleep(COLLECT_SECONDS)
        gc.collect()


def _wait_for_the_end_of(starter: int, seconds: float = 10) -> None:
    """Wait until a process's id is gone: a killed process's pipes close a moment before its locks.

    Being reparented is no sign of that: children get a new parent when the last thread of the
    killed process begins to exit, and that thread may still be closing files.
    """
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; or already another's
        while time.monotonic() < deadline:
            os.kill(starter, 0)
            time.sleep(0.01)


if __name__ == "__main__":
    serve_prefect(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
