"""The model that an alias names, served: once the alias names another version, so does the server.

MLflow's own server keeps the model that it started with.
"""

import json
import sys
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from mlflow.pyfunc import scoring_server

from tasks.tracking.models import exact_uri, load_served
from tasks.tracking.serving import scoring_app
from tasks.tracking.store import disable_retries

LOOK_SECONDS = 1.0
RETRY_SECONDS = 5.0  # after a failure: loading costs a download


@dataclass(frozen=True)
class Served:
    """One model, ready to answer.

    Attributes:
        uri: models:/NAME/VERSION, or models:/ID of a model that was named by its run.
        version: of a registered model, else None.
        run_id: the run that trained it.
        app: MLflow's application for it.
        example: a request's body that it was seen to answer.
    """

    uri: str
    version: str | None
    run_id: str | None
    app: FastAPI
    example: dict[str, Any]

    @classmethod
    def load(cls, uri: str) -> "Served":
        """Load a model and let it answer its own example. Raises: as load_served, or whatever the
        model raises."""
        model, example = load_served(uri)
        kind, schema = scoring_server.CONTENT_TYPE_JSON, model.metadata.get_input_schema()
        scoring_server.invocations(json.dumps(example), kind, model, schema)
        _, _, version = uri.removeprefix("models:/").partition("/")
        return cls(uri, version or None, model.metadata.run_id, scoring_app(model), example)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer carries."""
        named = {b"x-model-version": self.version, b"x-model-run": self.run_id}
        return [(name, value.encode()) for name, value in named.items() if value]


class FollowingApp:
    """An ASGI application that answers with the model that a URI names at the moment.

    A request is answered by the model that was there when it came. Every answer says version and
    run in its headers, and /health as JSON, with the reason if the URI's model cannot be served.

    Args:
        uri: as exact_uri takes it; only an alias (models:/NAME@ALIAS) may come to name another.

    Raises:
        As exact_uri and Served.load.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self.error = uri, ""
        self.served = Served.load(exact_uri(uri))

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        served = self.served

        async def send_named(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *served.headers]
            await send(message)

        app = self._health(served) if scope.get("path") == "/health" else served.app
        await app(scope, receive, send_named)

    def _health(self, served: Served) -> JSONResponse:
        found = {"model": self.uri, "version": served.version, "run": served.run_id}
        return JSONResponse(found | {"error": self.error or None})

    def follow(self) -> NoReturn:
        """Look for ever, once a second, whether the URI names another model, and let that answer.

        It is loaded and tried first, beside the one that answers. If that fails, the old one goes
        on, standard error and /health say why, and the next try is five seconds later.
        """
        disable_retries()  # the next look is one
        while True:
            time.sleep(RETRY_SECONDS if self.error else LOOK_SECONDS)
            try:
                self._look()
                self.error = ""
            except Exception as error:  # whatever it is, the model that answers goes on
                before, self.error = self.error, str(error) or type(error).__name__
                if self.error != before:
                    going_on = f"{self.served.uri} goes on answering, because {self.error}"
                    print(going_on, file=sys.stderr, flush=True)

    def _look(self) -> None:
        uri = exact_uri(self.uri)
        if uri != self.served.uri:
            self.served = Served.load(uri)
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {uri} answers from here on.", flush=True)
