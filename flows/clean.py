"""make clean-history: delete what is recorded here. `python -m flows.clean history [--yes]`

It needs the standard library only, so that it works without .venv. make clean-cache deletes what is
kept of files that were read: `python -m flows.clean cache`.
"""

import fcntl
import os
import shutil
from pathlib import Path

from flows.support.command import PREFECT_HOME, ROOT, argument, main, prepare_environment
from plumbline.errors import InputError

RECORDED = {
    "mlflow.db*": "every run, metric and registered model",
    "mlruns": "all models and pictures",
    ".plumbline": "what interrupted runs go on from",
    ".prefect": "the history of flow runs, and what was read of the data's files",
}


def clean(what: str, yes: bool = False) -> None:
    """Delete what is recorded in this folder (history), or what is kept of files (cache)."""
    if what == "history":
        clean_history(yes)
    else:
        clean_cache()


def clean_history(yes: bool) -> None:
    """Delete every run, model and flow run that is recorded in this folder, once you said yes.

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
    if not (yes or _said_yes()):
        raise InputError("Nothing was deleted. To delete it without being asked: YES=1.")
    _refuse_under_a_command()  # the answer may have taken a while
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    print("Deleted.")


def clean_cache() -> None:
    """Delete what is kept of files that were read; the next run reads them once more."""
    prepare_environment()
    from flows.support.server import prefect_server

    with prefect_server():  # Prefect asks it where results are kept
        from tasks.factor_cache import FactorCache

        cache = FactorCache.current()
        if cache.folder is None:
            print("What is kept of files is not on this machine. Nothing was deleted.")
        else:
            print(f"Deleted {cache.shrink(most_bytes=0) / 1e6:,.1f} MB in {cache.folder}.")


def _said_yes() -> bool:
    try:
        return input("Type yes to delete it: ").strip().lower() == "yes"
    except EOFError:  # nobody is there to answer
        print()
        return False


def _refuse_under_a_command() -> None:
    """Look whether a command holds a lock: a lease, a server log, a schedule, model or database."""
    homes = {PREFECT_HOME, Path(os.environ.get("PREFECT_HOME", PREFECT_HOME))}
    names = ("leases/*/*", "*.lock", "server.log")
    locks = [path for home in homes for name in names for path in home.glob(name)]
    for path in (*locks, *ROOT.glob("mlflow.db.*.lock")):
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(
                    "a run, a schedule or make ui is under way here and records into what would "
                    f"be deleted. End it first. (It holds {path}.)"
                ) from None


if __name__ == "__main__":
    sure = os.environ.get("YES") == "1"  # as make hands it on
    main(
        clean,
        argument("what", choices=("history", "cache")),
        argument("--yes", action="store_true", default=sure, help="do not ask"),
    )
