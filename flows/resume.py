"""make resume: resume an interrupted run. `python -m flows.resume [RUN]`"""

from flows.pipeline import pipeline
from flows.support.command import argument, main, prepare_store


def resume(run: str) -> None:
    """Resume an interrupted run from its last checkpoint, in the same MLflow run."""
    prepare_store()
    from tasks.lease import exclusive
    from tasks.resuming import find_interrupted

    found = find_interrupted(run)
    named = f"run '{found.title}' of experiment '{found.config.experiment}'"
    with exclusive(f"run-{found.id}", f"{named} is under way. Wait until it has ended."):
        print(f"Resuming {named}", flush=True)
        pipeline(found.config, found.name, found.id)


if __name__ == "__main__":
    main(resume, argument("run", nargs="?", default="", help="its name or id; default: the newest"))
