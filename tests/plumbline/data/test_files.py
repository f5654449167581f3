"""Finding files, each once and in a fixed order."""

import os
import re
from pathlib import Path

import pytest
from blake3 import blake3

from plumbline.data.files import find_files, fingerprint
from plumbline.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"x,y\n1,{len(name)}\n")


def found(path: object, folder: Path) -> list[str]:
    """Names below the folder, as they were listed."""
    prefix = f"{folder}/"
    return [file.uri.replace("file://", "").removeprefix(prefix) for file in find_files(str(path))]


TREE = ("b.csv", "a.csv", "sub/c.csv", "sub/deep/d.csv", ".hidden.csv", "_old.csv",
        ".git/e.csv", "sub/_tmp/f.csv", "notes.txt", "a.csv.bak")  # fmt: skip
WHOLE = ["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"]


def test_a_folder_is_searched_to_any_depth_without_what_is_hidden(tmp_path):
    touch(tmp_path, *TREE)
    assert found(tmp_path, tmp_path) == WHOLE
    assert found(f"{tmp_path}/", tmp_path) == WHOLE


def test_numbers_in_paths_are_sorted_by_value(tmp_path):
    names = ["a.csv", "a2.csv", "a02.csv", "a10.csv", "m=9/p-1.csv", "m=9/p-11.csv", "m=10/p.csv"]
    touch(tmp_path, *names)
    names[1:3] = ["a02.csv", "a2.csv"]  # equal numbers: as text
    assert found(tmp_path, tmp_path) == names


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("[a].csv", ["a.csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("**/*.csv", WHOLE),
        ("sub/*", ["sub/c.csv", "sub/deep/d.csv"]),
        ("**", WHOLE),
        ("*", WHOLE),
    ],
)
def test_a_glob_names_every_file_once(pattern, expected, tmp_path):
    touch(tmp_path, "a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "notes.txt")
    assert found(tmp_path / pattern, tmp_path) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.csv", "sub/a.csv"]),
        ("*", ["a.csv", "sub/a.csv"]),
        ("**/*.csv", ["a.csv", "sub/a.csv"]),
        ("s*/a.csv", ["sub/a.csv"]),
        ("sub", ["a.csv"]),
        ("sub/*.csv", ["a.csv"]),
        ("sub/a.csv", ["a.csv"]),
    ],
)
def test_a_file_has_a_name_below_the_folder_that_is_read(pattern, expected, tmp_path):
    touch(tmp_path, "a.csv", "sub/a.csv")
    for path in (tmp_path / pattern, f"file://{tmp_path}/{pattern}"):
        files = find_files(str(path))
        assert [file.name for file in files] == expected
        for file in files:
            file.check_unchanged()


def test_a_file_names_itself_even_with_a_globs_characters(tmp_path):
    touch(tmp_path, "a[1].csv", "a1.csv")
    assert found(tmp_path / "a[1].csv", tmp_path) == ["a[1].csv"]


def test_a_folder_whose_name_begins_with_a_dot_can_be_named(tmp_path):
    touch(tmp_path, ".data/a.csv")
    assert found(tmp_path / ".data", tmp_path) == [".data/a.csv"]


@pytest.mark.parametrize("name", ["", "a.csv", "*.csv"])
def test_a_uri_names_the_same_files_as_the_path(name, tmp_path):
    touch(tmp_path, "a.csv", "b.csv")
    assert found(f"file://{tmp_path}/{name}", tmp_path) == found(tmp_path / name, tmp_path)
    (file, *_) = find_files(f"file://{tmp_path}/{name}")
    assert file.open().read() == (tmp_path / "a.csv").read_bytes()
    file.check_unchanged()


def test_the_case_of_the_ending_does_not_matter(tmp_path):
    touch(tmp_path, "A.CSV")
    (file,) = find_files(str(tmp_path))
    assert file.is_csv


@pytest.mark.parametrize("path", ["gone", "gone.csv", "*.csv", "notes.txt", "empty"])
def test_a_path_without_a_table_is_refused_by_name(path, tmp_path):
    touch(tmp_path, "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"data\.path: no CSV, Parquet or Arrow file at") as caught:
        find_files(str(tmp_path / path))
    assert str(tmp_path / path) in str(caught.value)


def test_both_formats_at_once_are_refused(tmp_path):
    touch(tmp_path, "a.csv", "b.parquet")
    with pytest.raises(InputError, match="CSV and Parquet"):
        find_files(str(tmp_path))


@pytest.mark.parametrize("uri", ["nowhere://x/a.csv", "://", "é://x", "s3://", "a\0b.csv"])
def test_a_uri_of_no_known_kind_is_refused(uri):
    shown = re.escape(uri.replace("\0", r"\x00"))
    with pytest.raises(InputError, match=f"data\\.path: {shown} cannot be listed"):
        find_files(uri)


def test_the_digest_is_that_of_every_byte(tmp_path):
    content = os.urandom(3_000_001)
    (tmp_path / "a.csv").write_bytes(content)
    (file,) = find_files(str(tmp_path))
    assert file.digest() == blake3(content).hexdigest()
    assert file.size == 3_000_001


def test_a_file_as_it_was_listed_is_unchanged_and_another_is_not(tmp_path):
    touch(tmp_path, "a.csv")
    (file,), before = find_files(str(tmp_path)), fingerprint(str(tmp_path))
    file.check_unchanged()
    assert fingerprint(str(tmp_path)) == before
    os.utime(tmp_path / "a.csv", ns=(1, 1))
    assert fingerprint(str(tmp_path)) != before
    with pytest.raises(OSError, match="changed while it was read"):
        file.check_unchanged()
