"""make serve-model: REST prediction by MLflow's own server, until Ctrl-C.

`python -m flows.serve [--model URI]`
"""

import contextlib
import json
import shlex

from flows.support.command import argument, main, prepare_store
from flows.support.server import listen
from flows.support.web import answer

PORT = 5001


def serve(model: str | None = None) -> None:
    """Serve a stored model over REST on 127.0.0.1, until Ctrl-C."""
    prepare_store()
    from tasks.tracking.models import default_model, load_served
    from tasks.tracking.serving import scoring_app

    uri = model or default_model()
    served, example = load_served(uri)
    with listen(PORT) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        body = shlex.quote(json.dumps(example))
        print(f"{uri} is served at {address}. Ask it:")
        print(f"curl {address}/invocations -H 'Content-Type: application/json' -d {body}")
        print("A new champion is served from the next start on. Ctrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            answer(scoring_app(served), listener)
    print("\nEnded.")


if __name__ == "__main__":
    main(
        serve,
        argument(
            "--model",
            help="models:/NAME@champion, models:/NAME/VERSION or runs:/ID/model; default: the "
            "champion of the only registered model, or the model of the run that finished last",
        ),
    )
