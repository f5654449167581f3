"""make ui: MLflow's and Prefect's user interfaces on this machine, until Ctrl-C."""

import os
import subprocess
import time

from flows.support.command import leave, run_command
from flows.support.companion import start_companion
from flows.support.environment import prepare_environment
from flows.support.server import (
    FAREWELL,
    START_SECONDS,
    UI_PORT,
    answers,
    free_port,
    listen,
    start_server,
)

MLFLOW_PORT = 5000
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def main() -> int:
    """Run the command; returns its exit status."""
    return run_command(ui)


def ui() -> None:
    """See that the store can be opened, then show both as long as nobody ends it."""
    prepare_environment()
    from tasks.lease import lease
    from tasks.tracking.run import open_store, silence_libraries
    from tasks.tracking.store import check_store

    check_store()
    silence_libraries()
    open_store()  # what is wrong with it is said here, not in the log of a server
    with lease():  # keeps make clean-history away
        _show()


def _show() -> None:
    """Start both (or name the ones that the environment points at), print where, and wait."""
    started: list[subprocess.Popen] = []
    try:
        mlflow, prefect = _mlflow_ui(started), _prefect_ui(started)
        _wait_for([mlflow, prefect], started)
        print(f"MLflow:  {mlflow}   runs, metrics, models")
        print(f"Prefect: {prefect}   flow runs, their tasks and logs")
        print("Ctrl-C ends both." if started else "Both run elsewhere.", flush=True)
        if runs := _latest_runs(mlflow):
            print(f"The latest runs: {runs}", flush=True)
        while started and all(process.poll() is None for process in started):
            time.sleep(0.5)
        if started:
            raise OSError("one of the servers ended by itself. Is its port taken?")
    except KeyboardInterrupt:
        print("\nEnded.")
    finally:
        for process in started:
            process.communicate(FAREWELL)


def _mlflow_ui(started: list[subprocess.Popen]) -> str:
    store = os.environ["MLFLOW_TRACKING_URI"]
    if store.startswith("http"):
        return store
    port = free_port(MLFLOW_PORT)
    started.append(start_companion("flows.support.guard", str(port), **SILENT))
    return f"http://127.0.0.1:{port}"


def _latest_runs(address: str) -> str | None:
    """Where MLflow's UI shows the experiment that ran last; None where nothing has run."""
    from tasks.tracking.experiment import newest_experiment, page
    from tasks.tracking.run import open_store, silence_libraries

    silence_libraries()
    newest = newest_experiment(open_store())
    return newest and f"{address}/{page(newest)}"


def _prefect_ui(started: list[subprocess.Popen]) -> str:
    if api := os.environ.get("PREFECT_API_URL"):
        return api.removesuffix("/api")
    started.append(start_server(listen(UI_PORT), "ui"))
    return os.environ["PREFECT_API_URL"].removesuffix("/api")


def _wait_for(addresses: list[str], started: list[subprocess.Popen]) -> None:
    def check() -> None:
        if any(process.poll() is not None for process in started):
            raise OSError("a server ended while it started. Is its port taken?")

    for address in addresses:
        if not answers(address, START_SECONDS, check):
            raise OSError(f"{address} does not answer.")


if __name__ == "__main__":
    leave(main())
