"""OUTPUT: what would damage INPUT is refused, links and modes stay, errors name the user's file."""

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from plumbline.data.files import find_files
from plumbline.errors import InputError
from plumbline.training.output import check_output, whole_or_nothing
from tests.plumbline.tools import write

BATCH = pa.RecordBatch.from_pydict({"prediction": [1.0, 2.0]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """in/a.csv, in/deep/b.csv, a link and a hard link to a.csv, a link to in; out is empty."""
    for name in ("in/a.csv", "in/deep/b.csv"):
        write(tmp_path / name, {"x": [1.0]})
    (tmp_path / "link.csv").symlink_to("in/a.csv")
    os.link(tmp_path / "in" / "a.csv", tmp_path / "hard.csv")
    (tmp_path / "also").symlink_to("in")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(source: str, output: str) -> str:
    """The message that refuses an output."""
    with pytest.raises(InputError) as caught:
        check_output(output, source, find_files(source))
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("in/a.csv", "in/a.csv"),
        ("in/a.csv", "./in/../in/deep/../a.csv"),
        ("in/a.csv", "also/a.csv"),
        ("also/a.csv", "in/a.csv"),
        ("in/a.csv", "link.csv"),
        ("link.csv", "in/a.csv"),
        ("in/a.csv", "hard.csv"),
        ("in", "in/deep/b.csv"),
        ("in/**/*.csv", "in/deep/b.csv"),
    ],
)
def test_a_file_that_is_read_is_not_written(source, output, folder):
    found = refusal(source, output)
    assert found.startswith("OUTPUT must be another file than those of INPUT")
    assert output in found


def test_a_uri_of_a_local_file_is_that_file(folder):
    source = f"file://{folder}/in"
    assert "another file" in refusal(source, "in/a.csv")
    assert "outside INPUT" in refusal(source, "in/new.csv")


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("in", "in/new.csv"),
        ("in", "in/new.parquet"),
        ("in/", "also/deep/new.csv"),
        ("also", "in/new.csv"),
        ("in/*.csv", "in/new.csv"),
        ("also/*.csv", "in/new.csv"),
        ("in/*.csv", "also/new.csv"),
        ("in/**/*.csv", "in/new.csv"),
        ("in/**/*.csv", "in/deep/new.csv"),
        ("i[a-z]", "in/new.csv"),
        ("*/a.csv", "out/a.csv"),
        ("*.csv", "new.csv"),
    ],
)
def test_an_output_that_the_next_call_would_read_is_refused(source, output, folder):
    found = refusal(source, output)
    assert "outside INPUT" in found
    assert output in found


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("in/a.csv", "in/new.csv"),
        ("in", "out/new.csv"),
        ("in", "in/_predicted.csv"),
        ("in/*.csv", "in/new.parquet"),
        ("in/*.csv", "in/deep/new.csv"),
        ("in/a*.csv", "in/new.csv"),
        ("*/a.csv", "a.csv"),
    ],
)
def test_an_output_beside_the_input_is_allowed(source, output, folder):
    check_output(output, source, find_files(source))


def test_a_place_that_cannot_be_written_is_refused_by_the_name_that_was_given(folder):
    (folder / "folder.csv").mkdir()
    (folder / "dangling.csv").symlink_to("none/out.csv")
    for output, allowed in (
        ("none/out.csv", "in a folder that exists"),
        ("dangling.csv", "in a folder that exists"),
        ("in/a.csv/out.csv", "in a folder that exists"),
        ("folder.csv", "a file"),
        ("out.txt", "a file that ends in .csv or .parquet"),
        ("", "a file that ends in .csv or .parquet"),
    ):
        assert refusal("in", output) == f"OUTPUT must be {allowed}. Got '{output}' instead."


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_a_link_stays_one_and_a_mode_is_kept(name, folder):
    target = folder / "out" / name
    target.write_text("old")
    target.chmod(0o600)
    (folder / f"to-{name}").symlink_to(target)
    with whole_or_nothing(f"to-{name}") as put:
        put(BATCH)
        assert target.read_text() == "old"
        (part,) = (each for each in target.parent.iterdir() if each != target)
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert (folder / f"to-{name}").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes()[:3] in (b'"pr', b"PAR")
    assert list(target.parent.iterdir()) == [target]


def test_a_dangling_link_gets_its_file(folder):
    (folder / "dangling.csv").symlink_to("out/new.csv")
    with whole_or_nothing("dangling.csv") as put:
        put(BATCH)
    assert (folder / "dangling.csv").is_symlink()
    assert (folder / "out" / "new.csv").read_text().startswith('"prediction"')


def test_nothing_is_left_of_what_failed(folder):
    (folder / "out" / "new.csv").write_text("old")

    def fail() -> None:
        with whole_or_nothing("out/new.csv") as put:
            put(BATCH)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (folder / "out" / "new.csv").read_text() == "old"
    assert [each.name for each in (folder / "out").iterdir()] == ["new.csv"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_full_disk_is_told_by_the_name_that_was_given(ending, folder, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    rows = pa.RecordBatch.from_pydict({"prediction": [i / 7 for i in range(100_000)]})
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, before[1]))
        full = pytest.raises(OSError, match=rf"out/new\.{ending} cannot be written \(File too")
        with full, whole_or_nothing(f"out/new.{ending}") as put:
            put(rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list((folder / "out").iterdir()) == []


def test_a_name_may_be_as_long_as_the_file_system_allows(folder):
    for length, fits in ((255, True), (256, False)):
        output = f"out/{'n' * (length - 4)}.csv"
        check_output(output, "in", find_files("in"))
        if fits:
            with whole_or_nothing(output) as put:
                put(BATCH)
        else:
            with pytest.raises(InputError, match="long"), whole_or_nothing(output):
                pass


KILLED = """
import os, signal, sys
import pyarrow as pa
from plumbline.training.output import whole_or_nothing
with whole_or_nothing("out/new.csv") as put:
    put(pa.RecordBatch.from_pydict({"prediction": [1.0]}))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_deleted_and_what_another_writes_is_not(folder):
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=folder, env=here, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = (folder / "out").iterdir()
    with whole_or_nothing("out/new.csv") as first:
        first(BATCH)
        assert not left.exists()
        (mine,) = (folder / "out").iterdir()
        subprocess.run([sys.executable, "-c", KILLED], cwd=folder, env=here, check=False)
        assert mine.exists()
    assert "new.csv" in os.listdir("out")
