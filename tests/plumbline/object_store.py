"""A real S3-compatible server for tests: moto's, as a process."""

import importlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-object-store"}
missing = [name for name in ("moto", "boto3", "flask") if not importlib.util.find_spec(name)]
needs_object_store = pytest.mark.skipif(
    bool(missing),
    reason=f"{', '.join(missing)} not installed: make install GROUPS='servers servers-test'",
)


@contextmanager
def object_store() -> Iterator[str]:
    """A server of our own on 127.0.0.1; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        command, env={**os.environ, **KEYS}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(server, address)
        yield address
    finally:
        server.kill()
        server.wait()


def bucket(address: str) -> Any:
    """boto3's client of the server, after it has made a bucket named "rows"."""
    login = {name.lower(): value for name, value in KEYS.items()}
    boto3 = importlib.import_module("boto3")
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **login)
    client.create_bucket(Bucket="rows")
    return client


def _wait(server: subprocess.Popen, address: str) -> None:
    for _ in range(600):
        assert server.poll() is None, "moto's server ended while it started"
        try:
            with urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("moto's server does not answer")
