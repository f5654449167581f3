"""A guard around our own web servers: they answer this machine's programs and their own pages.

`python -m flows.support.guard PORT` is MLflow's user interface behind it.

They listen on 127.0.0.1, but a browser lets any web page send requests there: as a plain POST,
which a server carries out whatever its CORS settings say, or under a name of the page's own that is
made to resolve to 127.0.0.1.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any

HOST = re.compile(rb"(127\.0\.0\.1|localhost)(?P<port>:\d+)?")
ORIGIN = re.compile(rb"http://" + HOST.pattern)
REFUSAL = b"Only pages and programs of this machine are answered: Host or Origin is another.\n"


class Guard:
    """An ASGI application that refuses requests of web pages that are not its own, with status 403.

    Host must be 127.0.0.1 or localhost, with any port (it may be forwarded); Origin, which programs
    do not send, must be one of the two at the same port. WebSockets are held to the same.

    Args:
        app: the application to guard.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket") or is_own(scope["headers"]):
            await self._app(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
        else:
            text = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": text})
            await send({"type": "http.response.body", "body": REFUSAL})


def is_own(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request names this machine, and comes from a program or from the server's page.

    Args:
        headers: (name in lower case, value) as ASGI has them.
    """
    sent = list(headers)
    hosts = [HOST.fullmatch(value) for name, value in sent if name == b"host"]
    origins = [ORIGIN.fullmatch(value) for name, value in sent if name == b"origin"]
    if len(hosts) != 1 or not all([*hosts, *origins]):
        return False
    return all(origin["port"] == hosts[0]["port"] for origin in origins)


if __name__ == "__main__":
    import uvicorn

    from flows.support.companion import end_with_starter
    from tasks.tracking.server import mlflow_app

    end_with_starter()
    uvicorn.run(Guard(mlflow_app()), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
