"""MLflow's own servers as applications: its user interface, and the REST interface of a model."""

import json
import os
import warnings
from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

MAX_BODY_BYTES = 4 * 1024 * 1024  # several hundred thousand short rows, which take seconds
MESSAGE_CHARACTERS = 500
UI_ARTIFACTS = "mlflow-artifacts:/"  # of experiments that are made in the user interface


@cache
def mlflow_app() -> Any:
    """MLflow's ASGI application on the store that MLFLOW_TRACKING_URI names, as `mlflow ui` has it.

    `mlflow ui` starts it in a process of its own, where nothing can be put around it. What it hands
    to that process in the environment is set here.
    """
    store = os.environ["MLFLOW_TRACKING_URI"]
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": UI_ARTIFACTS,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "./mlartifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with warnings.catch_warnings(action="ignore"):  # what MLflow itself imports is deprecated
        from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, store, UI_ARTIFACTS)
    return app


class RequestSchema(Schema):
    """A signature's columns as requests have them: levels and dates are what JSON says (MLflow
    makes the text None of null), and text in CSV (where MLflow cannot read the type any)."""

    def __init__(self, inputs: Schema) -> None:
        text = DataType.string
        super().__init__(
            [ColSpec(AnyType(), each.name) if each.type == text else each for each in inputs]
        )

    def pandas_types(self) -> list[Any]:
        return [
            each.to_pandas() if isinstance(each, DataType) else object
            for each in self.input_types()
        ]


def scoring_app(model: PyFuncModel) -> FastAPI:
    """MLflow's application for one model: /invocations, /ping, /health and /version.

    What it stumbles over is refused before it. Every refusal is JSON with `error_code` and a
    `message` of one line: 400 for rows that the model does not take, 411 and 413 for a body of
    unknown size or over MAX_BODY_BYTES, 415 for another or no Content-Type.
    """
    model.metadata.signature.inputs = RequestSchema(model.metadata.get_input_schema())
    app = scoring_server.init(model)
    app.middleware("http")(_one_line)
    app.add_exception_handler(ValueError, _unreadable)  # a number of thousands of digits
    app.add_exception_handler(RecursionError, _unreadable)  # thousands of brackets
    return app


async def _one_line(request: Request, call_next: Any) -> Response:
    if request.method == "POST" and (refusal := _refusal(request)):
        async for _ in request.stream():  # many clients hear nothing before they have sent all
            pass
        return refusal
    answer = await call_next(request)
    if answer.status_code < 400:
        return answer
    body = b"".join([chunk async for chunk in answer.body_iterator]).decode()
    try:
        said = json.loads(body)
    except ValueError:
        said = {"message": body}
    code = said.get("error_code", "BAD_REQUEST")
    return _refused(answer.status_code, said.get("message") or str(said.get("detail")), code)


def _refusal(request: Request) -> Response | None:
    length = request.headers.get("content-length")
    if length is None:
        return _refused(411, "The request must say its Content-Length.")
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


async def _unreadable(request: Request, error: Exception) -> Response:
    return _refused(400, f"The body cannot be read: {error}.")


def _refused(status: int, message: str, code: str = "BAD_REQUEST") -> Response:
    return JSONResponse({"error_code": code, "message": _sentence(message)}, status)


def _sentence(message: str) -> str:
    """What MLflow says without the rows, the body and the history around it."""
    if message.startswith("Failed to predict data"):
        message = message.rpartition("Error: ")[2]
    message = message.partition("\nInput:")[0].partition(" IMPORTANT: ")[0]
    return " ".join(message.split())[:MESSAGE_CHARACTERS]
