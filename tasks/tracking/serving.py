"""Serves a model with MLflow's REST API; for an alias, always the version that it names now.

MLflow's own server keeps serving the model with which it was started.
"""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn

import pandas as pd
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

from tasks.tracking.models import encoding_of, exact_uri, load_served
from tasks.tracking.store import disable_retries

MAX_BODY_BYTES = 4 * 1024 * 1024  # several hundred thousand short rows, which take seconds
MESSAGE_CHARACTERS = 500
CHECK_SECONDS = 1.0
RETRY_SECONDS = 5.0  # after a failure, since every try downloads the model


class RequestSchema(Schema):
    """A signature's columns as requests contain them.

    Numbers are `double`, to which MLflow converts integers and the text of CSV. Levels and dates
    may have any type in JSON, and are text in CSV, where MLflow cannot parse columns of any type.
    """

    def __init__(self, inputs: Schema, numbers: Sequence[str]) -> None:
        double, names = DataType.double, {*numbers, None}  # the columns of arrays have no names
        super().__init__(
            [ColSpec(double if each.name in names else AnyType(), each.name) for each in inputs]
        )

    def pandas_types(self) -> list[Any]:
        return [
            each.to_pandas() if isinstance(each, DataType) else object
            for each in self.input_types()
        ]


def scoring_app(model: PyFuncModel) -> FastAPI:
    """MLflow's application for one model: /invocations, /ping, /health and /version.

    Requests that it would fail on are rejected first. Every error is JSON with `error_code` and a
    `message` of one line: 400 for rows that the model does not accept, 411 for a body of unknown
    size, 413 for one of more than MAX_BODY_BYTES, 415 for a wrong or missing Content-Type.
    """
    numbers = encoding_of(model.unwrap_python_model()).numbers
    model.metadata.signature.inputs = RequestSchema(model.metadata.get_input_schema(), numbers)
    app = scoring_server.init(model)
    app.middleware("http")(_one_line_refusals)
    app.add_exception_handler(ValueError, _unreadable)  # of a number with thousands of digits
    app.add_exception_handler(RecursionError, _unreadable)  # of thousands of nested brackets
    return app


async def _one_line_refusals(request: Request, call_next: Any) -> Response:
    if request.method == "POST" and (refusal := _refusal(request)):
        async for _ in request.stream():  # many clients read no answer before they have sent all
            pass
        return refusal
    kind = request.headers.get("content-type", "")
    if kind.startswith(scoring_server.CONTENT_TYPE_CSV) and _shifted(await request.body()):
        return _refused(400, "The first row must not have more values than there are names.")
    answer = await call_next(request)
    if answer.status_code < 400:
        return answer
    body = b"".join([chunk async for chunk in answer.body_iterator]).decode()
    try:
        payload = json.loads(body)
    except ValueError:
        payload = {"message": body}
    message = payload.get("message") or str(payload.get("detail"))
    return _refused(answer.status_code, message, payload.get("error_code", "BAD_REQUEST"))


def _refusal(request: Request) -> Response | None:
    length = request.headers.get("content-length")
    if length is None:
        return _refused(411, "The request must have a Content-Length header.")
    if int(length) > MAX_BODY_BYTES:
        return _refused(
            413,
            f"The body must have at most {MAX_BODY_BYTES:,} bytes. Got {int(length):,} instead; "
            "send fewer rows at a time, or predict files with make predict.",
        )
    if "content-type" not in request.headers:
        types = ", ".join(scoring_server.CONTENT_TYPES)
        return _refused(415, f"Content-Type must be one of {types}. Got none.")
    return None


def _shifted(body: bytes) -> bool:
    """Whether pandas would take the first values of rows of CSV for an index, and each other one
    for the column before its own."""
    with suppress(ValueError):  # which MLflow names as it reads the whole body
        return not isinstance(pd.read_csv(BytesIO(body), nrows=1).index, pd.RangeIndex)
    return False


async def _unreadable(request: Request, error: Exception) -> Response:
    return _refused(400, f"The body cannot be read: {error}.")


def _refused(status: int, message: str, code: str = "BAD_REQUEST") -> Response:
    return JSONResponse({"error_code": code, "message": _sentence(message)}, status)


def _sentence(message: str) -> str:
    """MLflow's message without the rows, the request's body and the advice that it adds."""
    if message.startswith("Failed to predict data"):
        message = message.rpartition("Error: ")[2]
    message = message.partition("\nInput:")[0].partition(" IMPORTANT: ")[0]
    return " ".join(message.split())[:MESSAGE_CHARACTERS]


@dataclass(frozen=True)
class Served:
    """A loaded model with its application.

    Attributes:
        uri: models:/NAME/VERSION, or models:/ID if it was named by its run.
        version: the version of a registered model; None for another model.
        run_id: the run that trained it.
        app: MLflow's application for it.
        example: the body of a request that it has answered.
    """

    uri: str
    version: str | None
    run_id: str | None
    app: FastAPI
    example: dict[str, Any]

    @classmethod
    def load(cls, uri: str) -> "Served":
        """Load a model and send it its input example. Raises: as load_served, or what the model
        raises."""
        model, example = load_served(uri)
        kind, schema = scoring_server.CONTENT_TYPE_JSON, model.metadata.get_input_schema()
        scoring_server.invocations(json.dumps(example), kind, model, schema)
        _, _, version = uri.removeprefix("models:/").partition("/")
        return cls(uri, version or None, model.metadata.run_id, scoring_app(model), example)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every answer."""
        named = {b"x-model-version": self.version, b"x-model-run": self.run_id}
        return [(name, value.encode()) for name, value in named.items() if value]


class FollowingApp:
    """An ASGI application that serves the model that a URI names now.

    A request is answered by the model that is current when it arrives. Every answer has headers
    with the model's version and run. /health returns both as JSON, with the error if the model that
    the URI names cannot be served.

    Args:
        uri: as exact_uri takes it; what an alias (models:/NAME@ALIAS) names may change.

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
        """Check once a second, forever, whether the URI names another model, and serve that one.

        The new model is loaded and tested while the current one answers. If that fails, the current
        one is kept, standard error and /health say why, and the next try is five seconds later.
        """
        disable_retries()  # the next check is the retry
        while True:
            time.sleep(RETRY_SECONDS if self.error else CHECK_SECONDS)
            try:
                self._update()
                self.error = ""
            except Exception as error:  # whatever the error, keep serving the current model
                before, self.error = self.error, str(error) or type(error).__name__
                if self.error != before:
                    kept = f"{self.served.uri} is still being served, because {self.error}"
                    print(kept, file=sys.stderr, flush=True)

    def _update(self) -> None:
        uri = exact_uri(self.uri)
        if uri != self.served.uri:
            self.served = Served.load(uri)
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {uri} is now being served.", flush=True)
