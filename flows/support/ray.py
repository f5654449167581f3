"""Where per-file work and a sweep's trials run: in threads of this process or on a Ray cluster.

Our own cluster starts and ends with the command, even after kill -9. A cluster that the
configuration names is used and left running.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.support.command import DEFAULTS, ROOT
from flows.support.companion import start_companion, wait_until
from flows.support.server import free_port
from plumbline.config.running import Ray, RunsOn
from plumbline.errors import InputError
from tasks.cluster import FOLDER, begin, connected

if TYPE_CHECKING:
    from prefect import Flow

Cluster = tuple[str, subprocess.Popen | None]  # the address, and the process if it is our own
START_SECONDS = 120  # Ray takes five, several times that on a busy machine
ANSWER_SECONDS = 5
STORE_BYTES = 200 << 20  # of results in transit; by default Ray reserves a third of the memory
# Settings of Prefect that a worker needs as well. Secrets are not among them, because Ray writes
# these to disk; the machines of a named cluster have secrets in their own environment.
PASSED_TO_WORKERS = (
    *(name for name in DEFAULTS if name.startswith("PREFECT_")),
    "PREFECT_API_URL",
    "PREFECT_LOCAL_STORAGE_PATH",
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK",
)


@contextlib.contextmanager
def cluster(wanted: RunsOn) -> Iterator[Cluster | None]:
    """Provide the cluster that a command uses, which may still be starting; None for threads.

    Raises:
        InputError: Ray is not installed.
        OSError: the named cluster does not answer.
    """
    if wanted.runner != "ray":
        yield None
        return
    if find_spec("ray") is None or find_spec("prefect_ray") is None:
        raise InputError(
            "runner: ray needs packages that are not installed: make install GROUPS=cluster"
        )
    if wanted.ray.address is None:
        with _own_cluster() as own:
            yield own
        return
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # of 40 seconds each
    try:
        _reach(wanted.ray.address)
    except OSError as error:
        raise OSError(_unreachable(wanted.ray.address, error)) from None
    yield wanted.ray.address, None


@contextlib.contextmanager
def _own_cluster() -> Iterator[Cluster]:
    address = f"127.0.0.1:{free_port()}"
    # The token keeps other users of this machine out. The third variable tells Ray that no other
    # machine takes part; otherwise it would listen on every network.
    os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    with tempfile.TemporaryDirectory(prefix="plumbline-ray-", ignore_cleanup_errors=True) as folder:
        process = start_companion(
            *("flows.support.companion", sys.executable, "-m", "ray.scripts.scripts"),
            *("start", "--head", "--block"),
            *(f"--port={address.rpartition(':')[2]}", f"--temp-dir={folder}"),
            *(f"--object-store-memory={STORE_BYTES}", "--include-dashboard=false"),
            "--disable-usage-stats",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield address, process
        finally:
            process.communicate()  # closes its input, which ends it


def _reach(address: str) -> None:
    """Raise OSError if nothing listens at an address."""
    socket.create_connection(Ray(address=address).place, ANSWER_SECONDS).close()


def _unreachable(address: str, why: object) -> str:
    first = next(iter(str(why).splitlines()), type(why).__name__)
    return (
        f"the Ray cluster at {address} cannot be reached ({first}). Is it running (`ray status` "
        "there), with the same versions of Ray and Python, and is ray.address right?"
    )


@contextlib.contextmanager
def connected_to(cluster: Cluster | None) -> Iterator[None]:
    """While the body runs, flows returned by `on_cluster` run their tasks on the cluster.

    Raises:
        OSError: the cluster cannot be reached.
        InputError: its machines cannot reach this command's Prefect server.
    """
    if cluster is None:
        yield
        return
    address, process = cluster
    # Ray's client would print warnings while it waits, and not notice that the process died
    if process and not wait_until(partial(_reach, address), START_SECONDS, process):
        raise OSError(
            "Ray did not start on this machine. To see why: .venv/bin/ray start --head --block"
        )
    import ray

    handler = signal.getsignal(signal.SIGTERM)  # Ray replaces it
    try:
        ray.init(address, runtime_env=_worker(), log_to_driver=False, logging_level="CRITICAL")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise OSError(_unreachable(address, error)) from None
    finally:
        signal.signal(signal.SIGTERM, handler)
    _silence()
    try:
        _check_server_reachable(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
        yield
    finally:
        ray.shutdown()


def _silence() -> None:
    """Suppress Ray's long messages about workers that ran out of memory; our error is one line."""
    from ray._private import worker

    with contextlib.suppress(AttributeError):  # Ray has no setting for it
        worker.global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")


def _worker() -> dict[str, Any]:
    """The runtime environment of a worker: this code, Prefect's settings, the working directory."""
    passed = {name: os.environ[name] for name in PASSED_TO_WORKERS if name in os.environ}
    return {
        "py_modules": [str(ROOT / name) for name in ("plumbline", "tasks")],
        "env_vars": {**passed, FOLDER: os.getcwd()},
        "worker_process_setup_hook": f"{begin.__module__}.{begin.__name__}",
    }


def _check_server_reachable(hosts: Iterable[str]) -> None:
    server = urlsplit(os.environ["PREFECT_API_URL"]).hostname
    far = [host for host in hosts if not _is_local(host)]
    if far and server in ("127.0.0.1", "localhost", "::1"):
        raise InputError(
            f"ray.address must be a cluster that reaches the Prefect server. Got one with "
            f"a machine at {far[0]}, while the server listens on 127.0.0.1: set PREFECT_API_URL to "
            "a server that all its machines reach."
        )


def _is_local(host: str) -> bool:
    with contextlib.suppress(OSError), socket.create_server((host, 0)):
        return True  # only a machine's own addresses can be bound
    return False


def on_cluster(flow: "Flow") -> "Flow":
    """Return a flow whose tasks run on the cluster, if this process is connected to one."""
    if not connected():
        return flow
    from prefect_ray import RayTaskRunner

    return flow.with_options(task_runner=RayTaskRunner())
