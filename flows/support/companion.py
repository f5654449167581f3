"""A process that ends with its starter: `python -m flows.support.companion COMMAND ...`.

It runs the command until its standard input closes, which the operating system does when the
starter ends, in whatever way; then it ends the command's whole process group.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

from flows.support.environment import ROOT

PATIENCE_SECONDS = 5


def start_companion(*command: str) -> subprocess.Popen:
    """Start a command that ends when this process does, or when the returned stdin is closed."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.support.companion", *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run(command: list[str]) -> int:
    """Be the companion; returns the command's exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end() -> None:
        sys.stdin.buffer.read()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
        os.killpg(os.getpgrp(), signal.SIGKILL)  # what it started, and this process

    threading.Thread(target=end, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
