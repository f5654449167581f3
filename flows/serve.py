"""make serve-model: REST predictions by MLflow's own server, always with the current champion.

`python -m flows.serve [--model URI]`
"""

import contextlib
import json
import shlex
import threading

from flows.support.command import argument, main, prepare_store
from flows.support.server import listen
from flows.support.web import answer

PORT = 5001


def serve(model: str | None = None) -> None:
    """Serve a stored model over REST on 127.0.0.1, until Ctrl-C."""
    prepare_store()
    from tasks.tracking.models import default_model
    from tasks.tracking.serving import FollowingApp

    app = FollowingApp(model or default_model())
    with listen(PORT) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        body = shlex.quote(json.dumps(app.served.example))
        print(f"{app.uri} is served at {address}. To try it:")
        print(f"curl {address}/invocations -H 'Content-Type: application/json' -d {body}")
        if "@" in app.uri:
            threading.Thread(target=app.follow, daemon=True).start()
            print("A newly promoted version is served within seconds.")
        print("Ctrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            answer(app, listener)
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
