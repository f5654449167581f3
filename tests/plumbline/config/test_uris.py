"""Telling secrets in URIs from what may be recorded."""

import pytest

from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.config.uris import holds_secret, without_login
from plumbline.errors import InputError


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@bucket/rows",
        "abfs://:secret@account.blob.core.windows.net/rows",
        "abfs://rows@account/x?client_secret=a",
        "s3://bucket/x?region=a&Access_Key=b",
    ],
)
def test_a_password_or_a_key_is_seen(uri):
    assert holds_secret(uri)
    raw = {"experiment": "e", "data": {"kind": "table", "path": uri, "target": "y"}}
    with pytest.raises(InputError, match=r"data\.path must be without a password or key") as caught:
        validated(raw, "a.yaml", Config)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "rows/a.csv",
        "rows/at 12:30@home.csv",
        "s3://bucket/a@b/c:d.csv",
        "s3://bucket/rows?endpoint_override=127.0.0.1:9000&scheme=http",
        "abfs://rows@account.dfs.core.windows.net/x",
    ],
)
def test_what_is_no_secret_is_none(uri):
    assert not holds_secret(uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://h:5000/api", ("http://h:5000/api", "", "")),
        ("https://ann:a%40b@h/api?x=1", ("https://h/api?x=1", "ann", "a@b")),
        ("sqlite:////tmp/mlflow.db", ("sqlite:////tmp/mlflow.db", "", "")),
        ("", ("", "", "")),
    ],
)
def test_a_login_is_taken_out_and_the_rest_is_as_it_was(uri, expected):
    assert without_login(uri) == expected
