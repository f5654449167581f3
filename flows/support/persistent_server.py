"""The Prefect server of `make schedule`: it creates the runs that are due, and has the UI."""

import os
import socket
import subprocess
from collections.abc import Callable

from flows.support.server import (
    FAREWELL,
    UI_PORT,
    listen,
    send_what_waits,
    start_server,
    wait_for_given,
)
from tasks.screen import note

END_SECONDS = 2.5


class PersistentServer:
    """The server that PREFECT_API_URL names, else one of our own that is started again if it ends.

    Its database is the one of all commands, so history, schedules and pauses outlive it. It ends
    when this process and the retraining that it started are both gone, in whatever way.

    Args:
        meanwhile: work to do while it starts, such as slow imports.

    Raises:
        OSError: it does not start; the one named does not answer, or refuses the login.
    """

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.process: subprocess.Popen | None = None
        self._port = 0
        if given := os.environ.get("PREFECT_API_URL"):
            meanwhile()
            wait_for_given(given)
        else:
            listener = listen(UI_PORT)
            self._port = listener.getsockname()[1]
            self.process = start_server(listener, "scheduling", meanwhile=meanwhile)

    @property
    def address(self) -> str:
        """Of the UI."""
        return os.environ["PREFECT_API_URL"].removesuffix("/api")

    @property
    def pipe(self) -> tuple[int, ...]:
        """What a child must hold open so that the server outlives it."""
        return (self.process.stdin.fileno(),) if self.process else ()

    def keep(self) -> None:
        """Start our own again where it ended. Raises OSError where it does not start."""
        if not self._port or (self.process and self.process.poll() is None):
            return
        if self.process:
            note("the Prefect server ended; it is started again")
            self.process.stdin.close()
            self.process = None
        # at the same port, which the run under way and the UI know
        self.process = start_server(socket.create_server(("127.0.0.1", self._port)), "scheduling")

    def end(self) -> None:
        """End our own, within seconds."""
        send_what_waits()
        if not self.process:
            return
        try:
            self.process.communicate(FAREWELL, timeout=END_SECONDS)
        except (subprocess.TimeoutExpired, OSError):
            self.process.kill()
            self.process.wait()
