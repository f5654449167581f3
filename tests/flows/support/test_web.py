"""Our servers answer this machine's programs and their own pages, and no other web page."""

import re
import signal
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.support.web import is_own
from tests.flows.conftest import Workspace

OWN = [{}, {"Origin": "http://127.0.0.1:{port}"}, {"Host": "localhost:{port}"},
       {"Host": "localhost:{port}", "Origin": "http://localhost:{port}"},
       {"Host": "localhost:14200", "Origin": "http://localhost:14200"}]  # forwarded  # fmt: skip
FOREIGN = [
    *({"Origin": origin} for origin in (
        "null", "", "http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1",
        "http://127.0.0.1:9", "http://127.0.0.1:{port}.evil.example", "http://evil@localhost:{port}",
    )),
    *({"Host": host} for host in (
        "", "evil.example", "evil.example:{port}",
        "10.evil.example", "127.0.0.1.evil.example:{port}",
        "localhost.:{port}", "127.0.0.1:{port}:80", "evil.example@127.0.0.1:{port}",
    )),
    {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
]  # fmt: skip
# what each server is asked: it changes or tells something
ASKED = ["/api/deployments/filter", "/api/flows/", "/ajax-api/2.0/mlflow/experiments/create",
         "/api/2.0/mlflow/experiments/search", "/graphql", "/v1/traces", "/"]  # fmt: skip


def named(headers: dict[str, str], port: int) -> dict[str, str]:
    """The headers of a request to a port; Host is there whatever is said."""
    own = {"Host": f"127.0.0.1:{port}"}
    return own | {name: value.format(port=port) for name, value in headers.items()}


def verdict(headers: dict[str, str]) -> bool:
    sent = named(headers, 4200).items()
    return is_own((name.lower().encode(), value.encode()) for name, value in sent)


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_programs_and_own_pages_are_answered(headers: dict[str, str]) -> None:
    assert verdict(headers)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_other_pages_are_refused(headers: dict[str, str]) -> None:
    assert not verdict(headers)


def test_without_a_host_or_with_two_a_request_is_refused() -> None:
    host = (b"host", b"127.0.0.1:4200")
    assert is_own([host])
    assert not is_own([])
    assert not is_own([host, (b"host", b"evil.example")])
    assert not is_own([host, host])


@pytest.fixture(scope="module")
def ui(workspace: Workspace) -> Iterator[tuple[subprocess.Popen, dict[str, str]]]:
    """make ui, and the addresses of MLflow's server and of Prefect's."""
    process = workspace.start("flows.ui")
    lines = "".join(process.stdout.readline() for _ in range(3))
    yield process, dict(re.findall(r"^(\w+): +(\S+)", lines, re.M))
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def servers(ui: tuple[subprocess.Popen, dict[str, str]]) -> dict[str, int]:
    """The ports of MLflow's server and of Prefect's."""
    return {name: urlsplit(address).port for name, address in ui[1].items()}


def post(port: int, path: str, headers: dict[str, str]) -> int:
    """The status of what a page of any site may send without asking first."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", path, skip_host=True)
    body = b'{"name": "planted"}'
    told = {"Content-Type": "text/plain", "Content-Length": str(len(body))}
    for name, value in (named(headers, port) | told).items():
        connection.putheader(name, value)
    connection.endheaders(body)
    with connection.getresponse() as answer:
        return answer.status


@pytest.mark.parametrize("name", ["MLflow", "Prefect"])
def test_a_servers_every_path_is_behind_the_guard(servers: dict[str, int], name: str) -> None:
    port = servers[name]
    for path in ASKED:
        assert {post(port, path, headers) for headers in FOREIGN} <= {400, 403}  # 400: no HTTP
        assert post(port, path, {"Origin": "http://evil.example"}) == 403
        assert 403 not in {post(port, path, headers) for headers in OWN}


def test_a_websocket_of_another_page_is_refused(servers: dict[str, int]) -> None:
    port = servers["Prefect"]
    address = f"ws://127.0.0.1:{port}/api/events/in"
    for own in (None, f"http://127.0.0.1:{port}"):
        connect(address, origin=own).close()
    for foreign in ("http://evil.example", "null", "http://127.0.0.1:9"):
        with pytest.raises(InvalidStatus) as refused:
            connect(address, origin=foreign)
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus):
        connect(address, additional_headers={"Host": "evil.example"})


def test_the_server_of_a_command_is_guarded_too(served: Workspace) -> None:
    port = urlsplit(served.servers["PREFECT_API_URL"]).port
    answers = [post(port, "/api/flows/filter", sent) for sent in ({"Origin": "null"}, {})]
    assert answers == [403, 200]


def test_pages_are_shown_until_ctrl_c(
    ui: tuple[subprocess.Popen, dict[str, str]], workspace: Workspace
) -> None:
    process, addresses = ui
    assert list(addresses) == ["MLflow", "Prefect"]
    for address in addresses.values():
        with urlopen(address, timeout=30) as page:
            assert "html" in page.read().decode().lower()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert workspace.processes() == []
