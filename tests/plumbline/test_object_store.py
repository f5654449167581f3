"""Objects of an S3-compatible store: found, told apart by ETag, read; failures told from damage."""

from collections.abc import Iterator
from typing import Any

import pytest

from plumbline.data.batches import read_batches
from plumbline.data.files import find_files, fingerprint
from plumbline.data.header import Header, read_header
from plumbline.errors import InputError
from tests.plumbline.object_store import KEYS, bucket, needs_object_store, object_store

pytestmark = needs_object_store
ROWS = b"x,y\n1,2\n2,4\n3,6.5\n"
FORMS = ("s3://{bucket}/{name}", "s3://{bucket}/{name}?endpoint_override={at}&scheme=http")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with object_store() as address, pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    client = bucket(address)
    for name in ("a/part-0.csv", "a/part-1.csv", "a/b c/part-2.csv", "a/_old.csv", "notes.txt"):
        client.put_object(Bucket="rows", Key=name, Body=ROWS)
    return client


def found(address: str, form: str, name: str) -> list[str]:
    at = address.removeprefix("http://")
    files = find_files(form.format(bucket="rows", name=name, at=at))
    for file in files:
        assert file.open().read() == ROWS
        file.check_unchanged()
    return [file.uri.removeprefix("s3://rows/") for file in files]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", ["a/b c/part-2.csv", "a/part-0.csv", "a/part-1.csv"]),
        ("a", ["a/b c/part-2.csv", "a/part-0.csv", "a/part-1.csv"]),
        ("a/b c/", ["a/b c/part-2.csv"]),
        ("a/part-?.csv", ["a/part-0.csv", "a/part-1.csv"]),
        ("a/part-1.csv", ["a/part-1.csv"]),
    ],
)
def test_a_uri_names_the_objects_below_it(
    client: Any, address: str, form: str, name: str, expected: list[str]
) -> None:
    assert found(address, form, name) == expected


def test_an_object_is_what_its_etag_says_whenever_it_was_written(client: Any) -> None:
    (before,) = find_files("s3://rows/a/part-0.csv")
    assert before.etag
    assert fingerprint("s3://rows/a/part-0.csv") == fingerprint("s3://rows/a/part-0.csv")
    client.put_object(Bucket="rows", Key="a/part-0.csv", Body=ROWS, Metadata={"again": "yes"})
    assert find_files("s3://rows/a/part-0.csv") == (before,)
    client.put_object(Bucket="rows", Key="a/part-0.csv", Body=ROWS.replace(b"6.5", b"6.6"))
    (after,) = find_files("s3://rows/a/part-0.csv")
    assert (after.size, after.modified) == (before.size, before.modified)
    assert after.etag != before.etag
    with pytest.raises(OSError, match="changed while it was read"):
        before.check_unchanged()
    client.put_object(Bucket="rows", Key="a/part-0.csv", Body=ROWS)


def test_a_store_out_of_reach_is_no_damage_and_may_be_tried_again(client: Any) -> None:
    client.create_bucket(Bucket="gone")
    client.put_object(Bucket="gone", Key="a.parquet", Body=b"PAR1 is not enough PAR1")
    (file,) = find_files("s3://gone/a.parquet")
    with pytest.raises(InputError, match="is not valid Parquet"):
        read_header(file)
    client.delete_object(Bucket="gone", Key="a.parquet")
    header = Header(file, {"x": "number"}, frozenset(), ("x",))
    for read in (lambda: read_header(file), lambda: list(read_batches(header, header.kinds))):
        with pytest.raises(OSError, match="gone"):
            read()
