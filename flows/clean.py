"""make clean-history: delete everything recorded here. `python -m flows.clean history [--yes]`

It needs only the standard library, so it works without .venv. `python -m flows.clean cache`, or
make clean-cache, deletes the cached summaries of data files.
"""

import fcntl
import os
import shutil
from pathlib import Path

from flows.support.command import PREFECT_HOME, ROOT, argument, main, prepare_environment
from plumbline.errors import InputError

RECORDED = {
    "mlflow.db*": "every run, metric and registered model",
    "mlruns": "all models and plots",
    ".plumbline": "the checkpoints of interrupted runs",
    ".prefect": "the history of flow runs, and the cached summaries of data files",
}


def clean(what: str, yes: bool = False) -> None:
    """Delete what is recorded in this folder (history), or the cached summaries (cache)."""
    if what == "history":
        clean_history(yes)
    else:
        clean_cache()


def clean_history(yes: bool) -> None:
    """Delete every run, model and flow run recorded in this folder, after asking for a yes.

    Args:
        yes: delete without asking.

    Raises:
        BlockingIOError: a run, a schedule or a UI is running.
        InputError: the answer was not yes.
    """
    _refuse_while_in_use()
    found = {path: what for name, what in RECORDED.items() for path in sorted(ROOT.glob(name))}
    if not found:
        print("Nothing is recorded here.")
        return
    print("This permanently deletes:")
    for path, what in found.items():
        if path.suffix != ".lock":  # a lock is an empty file
            print(f"  {path}: {what}")
    if not (yes or _confirmed()):
        raise InputError("Nothing was deleted. To delete it without being asked: YES=1.")
    _refuse_while_in_use()  # a command may have started before the answer came
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    print("Deleted.")


def clean_cache() -> None:
    """Delete the cached summaries of data files; the next run reads its files again."""
    prepare_environment()
    from flows.support.server import prefect_server

    with prefect_server():  # whose settings say where Prefect stores results
        from tasks.factor_cache import FactorCache

        cache = FactorCache.current()
        if cache.folder is None:
            print("The cached summaries of data files are not on this machine: nothing deleted.")
        else:
            print(f"Deleted {cache.shrink(most_bytes=0) / 1e6:,.1f} MB from {cache.folder}.")


def _confirmed() -> bool:
    try:
        return input("Type yes to delete it: ").strip().lower() == "yes"
    except EOFError:  # no terminal
        print()
        return False


def _refuse_while_in_use() -> None:
    """Raise BlockingIOError if a command holds one of the locks here: a lease, a server's log, a
    schedule, a model or a database."""
    homes = {PREFECT_HOME, Path(os.environ.get("PREFECT_HOME", PREFECT_HOME))}
    names = ("leases/*/*", "*.lock", "server.log")
    locks = [path for home in homes for name in names for path in home.glob(name)]
    for path in (*locks, *ROOT.glob("mlflow.db.*.lock")):
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(
                    "a run, a schedule or make ui is under way here and uses these files. "
                    f"Stop it first. (It holds a lock on {path}.)"
                ) from None


if __name__ == "__main__":
    yes = os.environ.get("YES") == "1"  # make exports it
    main(
        clean,
        argument("what", choices=("history", "cache")),
        argument("--yes", action="store_true", default=yes, help="do not ask"),
    )
