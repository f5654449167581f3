"""make serve-model: REST prediction by MLflow's own server, until Ctrl-C.

`python -m flows.serve [--model URI]`
"""

import argparse
import json
import shlex
import socket
from collections.abc import Sequence
from typing import Any

from flows.support.command import leave, run_command
from flows.support.environment import prepare_environment
from flows.support.guard import Guard
from flows.support.server import listen

PORT = 5001
PATIENCE_SECONDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.serve",
        description="Serve a stored model over REST on 127.0.0.1.",
    )
    parser.add_argument(
        "--model",
        help="models:/NAME@champion, models:/NAME/VERSION or runs:/ID/model; default: the champion "
        "of the only registered model, or the model of the run that finished last",
    )
    return run_command(serve, **vars(parser.parse_args(arguments)))


def serve(model: str | None = None) -> None:
    """Load the model, print how to ask for predictions, and answer until Ctrl-C."""
    prepare_environment()
    from tasks.tracking.models import default_model, load_served
    from tasks.tracking.serving import scoring_app
    from tasks.tracking.store import check_store

    check_store()
    uri = model or default_model()
    served, example = load_served(uri)
    with listen(PORT) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        print(f"{uri} is served at {address}. Ask it:")
        print(_curl(address, example))
        print("A new champion is served from the next start on. Ctrl-C ends it.", flush=True)
        _answer(Guard(scoring_app(served)), listener)


def _answer(app: Any, listener: socket.socket) -> None:
    """Serve until Ctrl-C, and finish the requests under way."""
    import uvicorn

    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=PATIENCE_SECONDS)
    try:
        uvicorn.Server(config).run([listener])
    except KeyboardInterrupt:
        print("\nEnded.")


def _curl(address: str, example: dict) -> str:
    body = shlex.quote(json.dumps(example))
    return f"curl {address}/invocations -H 'Content-Type: application/json' -d {body}"


if __name__ == "__main__":
    leave(main())
