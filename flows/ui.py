"""make ui: MLflow's and Prefect's user interfaces on this machine, until Ctrl-C."""

import contextlib
import os

from flows.support.command import main, prepare_store
from flows.support.server import UI_PORT, listen, prefect_server
from flows.support.web import answer

MLFLOW_PORT = 5000


def ui() -> None:
    """Show MLflow's and Prefect's user interfaces on this machine, until Ctrl-C.

    A server that the environment names is not started here; its address is printed.
    """
    prepare_store()
    from tasks.lease import lease
    from tasks.tracking.experiment import newest_experiment, page
    from tasks.tracking.store import mlflow_app, open_store

    newest = newest_experiment(open_store())  # raises if the store cannot be used
    given = os.environ["MLFLOW_TRACKING_URI"]
    local = not given.startswith("http")
    with (
        lease(),  # make clean-history refuses to run meanwhile
        prefect_server(lambda: local and mlflow_app(), "ui", UI_PORT) as prefect,
        listen(MLFLOW_PORT) as listener,
    ):
        mlflow = f"http://127.0.0.1:{listener.getsockname()[1]}" if local else given
        print(f"MLflow:  {mlflow}   runs, metrics, models")
        print(f"Prefect: {prefect.address}   flow runs, their tasks and logs")
        print(
            "Ctrl-C ends both." if local or prefect.process else "Both run elsewhere.", flush=True
        )
        if newest:
            print(f"The latest runs: {mlflow}/{page(newest)}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            if local:
                answer(mlflow_app(), listener, beside=prefect.process)
            elif prefect.process:
                prefect.process.wait()
            if prefect.process and prefect.process.poll() is not None:
                raise OSError("the Prefect server ended by itself. Its log: .prefect/server.log")
        if local or prefect.process:
            print("\nEnded.")


if __name__ == "__main__":
    main(ui)
