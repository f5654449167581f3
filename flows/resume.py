"""make resume: go on with an interrupted run. `python -m flows.resume [RUN]`"""

from flows.pipeline import pipeline
from flows.support.command import argument, main, prepare_store


def resume(run: str) -> None:
    """Go on with an interrupted run, in the same MLflow run, from its last checkpoint."""
    prepare_store()
    from tasks.resuming import find_interrupted

    found = find_interrupted(run)
    print(
        f"Going on with run '{found.title}' of experiment '{found.config.experiment}'", flush=True
    )
    pipeline(found.config, found.name, found.id)


if __name__ == "__main__":
    main(resume, argument("run", nargs="?", default="", help="its name or id; default: the newest"))
