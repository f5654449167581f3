"""make ui: MLflow's and Prefect's user interfaces on this machine, until Ctrl-C."""

import contextlib
import os
import subprocess
import sys
import time
from urllib.request import urlopen

from flows.command import leave, run_command
from flows.companion import start_companion
from flows.environment import prepare_environment
from flows.server import free_port

MLFLOW_PORT, PREFECT_PORT = 5000, 4200
START_SECONDS = 120


def main() -> int:
    """Run the command; returns its exit status."""
    return run_command(open_uis)


def open_uis() -> None:
    """Start both (or name the ones that the environment points at), print where, and wait."""
    prepare_environment()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    started: list[subprocess.Popen] = []
    try:
        mlflow, prefect = _mlflow_ui(started), _prefect_ui(started)
        _wait_for([mlflow, prefect], started)
        print(f"MLflow:  {mlflow}   runs, metrics, models")
        print(f"Prefect: {prefect}   flow runs, their tasks and logs")
        print("Ctrl-C ends both." if started else "Both run elsewhere.", flush=True)
        while started and all(process.poll() is None for process in started):
            time.sleep(0.5)
        if started:
            raise OSError("one of the servers ended by itself. Is its port taken?")
    except KeyboardInterrupt:
        print("\nEnded.")
    finally:
        for process in started:
            process.stdin.close()
        for process in started:
            process.wait()


def _mlflow_ui(started: list[subprocess.Popen]) -> str:
    store = os.environ["MLFLOW_TRACKING_URI"]
    if store.startswith("http"):
        return store
    port = free_port(MLFLOW_PORT)
    started.append(
        start_companion(
            sys.executable,
            "-m",
            "mlflow",
            "ui",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            "--backend-store-uri",
            store,
        )
    )
    return f"http://127.0.0.1:{port}"


def _prefect_ui(started: list[subprocess.Popen]) -> str:
    if api := os.environ.get("PREFECT_API_URL"):
        return api.removesuffix("/api")
    port = free_port(PREFECT_PORT)
    started.append(
        start_companion(
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-services",
        )
    )
    return f"http://127.0.0.1:{port}"


def _wait_for(addresses: list[str], started: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + START_SECONDS
    for address in addresses:
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urlopen(address, timeout=5):
                break
            if any(process.poll() is not None for process in started):
                raise OSError("a server ended while it started. Is its database damaged?")
            time.sleep(0.1)
        else:
            raise OSError(f"{address} does not answer.")


if __name__ == "__main__":
    leave(main())
