"""A child process that ends with the process that started it, even after kill -9.

The starter holds the other end of the child's standard input, which the operating system closes
when the starter ends. `python -m flows.support.companion COMMAND ...` runs a command that does not
watch its own input.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.support.command import ROOT

PATIENCE_SECONDS = 4.5


def start_companion(*arguments: str, cwd: Path = ROOT, **options: Any) -> subprocess.Popen:
    """Start `python -m ARGUMENTS`, which ends when this process does or the returned stdin closes.

    It has its own session, so that Ctrl-C reaches only this process.

    Args:
        arguments: a module that calls `end_with_starter`, and its arguments.
        cwd: its working directory.
        options: of Popen.
    """
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        stdin=subprocess.PIPE,
        start_new_session=True,
        **options,
    )


def wait_until(
    works: Callable[[], Any], seconds: float, process: subprocess.Popen | None = None
) -> bool:
    """Call a function until it raises no OSError.

    Args:
        works: raises OSError until what is starting answers.
        seconds: how long to try.
        process: what is starting; if it has ended, there is nothing to wait for.

    Returns:
        Whether a call succeeded.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            works()
            return True
        if process and process.poll() is not None:
            return False
        time.sleep(0.02)
    return False


def interrupt(said: bytes = b"") -> None:
    """Interrupt this process, and end it if that takes too long."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)  # the next command reconciles what is left


def end_with_starter(end: Callable[[bytes], None] = interrupt) -> None:
    """When standard input closes, call a function in a thread with what the starter had sent."""
    threading.Thread(target=lambda: end(sys.stdin.buffer.read()), daemon=True).start()


def run(command: list[str]) -> int:
    """Run a command and end it with the starter; returns its exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end(said: bytes) -> None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
        os.killpg(os.getpgrp(), signal.SIGKILL)  # its children and this process

    end_with_starter(end)
    return process.wait()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
