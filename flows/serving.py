"""make serve-model: REST prediction by MLflow's own server, until Ctrl-C.

`python -m flows.serving [--model URI]`
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flows.command import leave, run_command
from flows.companion import start_companion
from flows.environment import prepare_environment
from flows.server import START_SECONDS, answers, free_port

PORT = 5001


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.serving",
        description="Serve a stored model over REST on 127.0.0.1.",
    )
    parser.add_argument(
        "--model",
        help="models:/NAME@champion, models:/NAME/VERSION or runs:/ID/model; default: the champion "
        "of the only registered model, or the model of the run that finished last",
    )
    given = parser.parse_args(arguments)
    return run_command(lambda: serve_model(given.model))


def serve_model(model: str | None) -> None:
    """Start the server, print how to ask it, and wait."""
    prepare_environment()
    from tasks.tracking.models import default_model, load_example, own_uri
    from tasks.tracking.store import check_store

    check_store()
    uri = model or default_model()
    example = load_example(uri)
    port = free_port(PORT)
    # MLflow starts uvicorn by its name: the one beside this Python must be found first
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    where = ("--host", "127.0.0.1", "--port", str(port), "--env-manager", "local")
    process = start_companion(
        sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", own_uri(uri), *where
    )
    try:
        address = f"http://127.0.0.1:{port}"

        def check() -> None:
            if process.poll() is not None:
                raise OSError(f"MLflow's server for {uri} ended. Is port {port} taken?")

        if not answers(f"{address}/ping", START_SECONDS, check):
            raise OSError(f"MLflow's server for {uri} does not answer at {address}.")
        print(f"{uri} is served at {address}. Ask it:")
        print(_curl(address, example))
        print("A new champion is served from the next start on. Ctrl-C ends it.", flush=True)
        while True:
            check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nEnded.")
    finally:
        process.stdin.close()
        process.wait()


def _curl(address: str, example: dict) -> str:
    body = shlex.quote(json.dumps(example))
    return f"curl {address}/invocations -H 'Content-Type: application/json' -d {body}"


if __name__ == "__main__":
    leave(main())
