"""The section for data: a secret in a URI is refused, because what is configured is recorded."""

import pytest

from plumbline.config.data import SECRET
from plumbline.config.loading import validated
from plumbline.config.schema import Config
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
    assert not SECRET.search(uri)
