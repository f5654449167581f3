"""make clean-history: delete what is recorded here. `python -m flows.clean_history [--yes]`

Needs the standard library only, so that it works without .venv.
"""

import argparse
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.command import leave, run_command
from flows.environment import PREFECT_HOME, ROOT
from regression.errors import InputError

RECORDED = {
    "mlflow.db*": "every run, metric and registered model",
    "mlruns": "all models and pictures",
    ".prefect": "the history of flow runs, and what was read of the data's files",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.clean_history",
        description="Delete every run, model and flow run that is recorded in this folder.",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask; so does YES=1 (make)")
    given = parser.parse_args(arguments)
    return run_command(lambda: clean_history(given.yes or os.environ.get("YES") == "1"))


def clean_history(sure: bool) -> None:
    """Say what will be deleted, ask, and delete it.

    Raises:
        BlockingIOError: a run, a schedule or a UI is alive.
        InputError: the answer was not yes.
    """
    _refuse_under_a_command()
    found = {path: what for name, what in RECORDED.items() for path in sorted(ROOT.glob(name))}
    if not found:
        print("Nothing is recorded here.")
        return
    print("This deletes for ever:")
    for path, what in found.items():
        print(f"  {path}: {what}")
    if not (sure or _said_yes()):
        raise InputError("Nothing was deleted. To delete it without being asked: YES=1.")
    _refuse_under_a_command()  # the answer may have taken a while
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    print("Deleted.")


def _said_yes() -> bool:
    try:
        return input("Type yes to delete it: ").strip().lower() == "yes"
    except EOFError:  # nobody is there to answer
        print()
        return False


def _refuse_under_a_command() -> None:
    for path in _locks():
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(
                    "a run, a schedule or make ui is under way here and records into what would "
                    f"be deleted. End it first. (It holds {path}.)"
                ) from None


def _locks() -> Iterator[Path]:
    """What running commands hold: leases, servers' logs, locks of schedules, models, databases."""
    for home in {PREFECT_HOME, Path(os.environ.get("PREFECT_HOME", PREFECT_HOME))}:
        yield from (*home.glob("leases/*/*"), *home.glob("*.lock"), *home.glob("server.log"))
    yield from ROOT.glob("mlflow.db.*.lock")


if __name__ == "__main__":
    leave(main())
