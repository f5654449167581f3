"""make hands values on: none is read by a shell or by make itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.support.make import arguments
from plumbline.errors import InputError
from tests.flows.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
GIVEN = re.search(r"^GIVEN := (.*)$", MAKEFILE, re.MULTILINE)[1].split()
TARGETS = re.findall(r"^([\w-]+): .*\n\t@\$\(CALL\)", MAKEFILE, re.MULTILINE)
# each would make a file named BAIT, if a shell or make read it, also inside quotes of either kind
HOSTILE = "$(shell touch BAIT)`touch BAIT`$(touch BAIT);touch BAIT;\"'`touch BAIT`'\";touch BAIT\n"
HOSTILE += "touch BAIT\n${shell touch BAIT}|touch BAIT&&touch BAIT #\\"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The Makefile, with this interpreter as what it has installed."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("pyproject.toml", "requirements.lock", ".venv/.installed"):
        (tmp_path / name).touch()
    for name in ("flows", "plumbline"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # A make around the tests must not show: this one would say which folder it enters.
    outer = {*GIVEN, "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    plain = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", *words], cwd=folder, env=plain | variables, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("by", ["command line", "environment", "make -n"])
@pytest.mark.parametrize("target", [*TARGETS, "install", "clean-history", "help"])
def test_a_hostile_value_is_refused_and_nothing_of_it_is_run(
    folder: Path, target: str, by: str
) -> None:
    (folder / "flows").unlink()  # the words end where a command would begin
    (folder / "flows" / "support").mkdir(parents=True)
    shutil.copy(ROOT / "flows" / "support" / "make.py", folder / "flows" / "support")
    values = dict.fromkeys(GIVEN, HOSTILE)
    if by == "environment":
        done = make(folder, target, **values)
    else:
        dry = ["-n"] if by == "make -n" else []
        done = make(folder, *dry, target, *(f"{name}={value}" for name, value in values.items()))
    assert not (folder / "BAIT").exists()
    if by != "make -n" and target != "help":
        assert done.returncode == 2, done


def test_values_arrive_as_they_were_written(folder: Path) -> None:
    makefile = folder / "Makefile"
    with makefile.open("a") as file:
        file.write("\necho: ; @$(CALL) echo INPUT --model=MODEL SET...\n")
    (folder / "echo.py").write_text("import sys; print(ascii(sys.argv[1:]))")
    written = "a b$(x)`y`$$'\";|"
    done = make(folder, "echo", f"INPUT={written}", "MODEL=m n", "SET=a=1 'b=[c, d]' e=$HOME")
    expected = ["--model", "m n", "--", written, "a=1", "b=[c, d]", "e=$HOME"]
    assert done.stdout == f"{expected!a}\n"
    assert make(folder, "echo", INPUT=written).stdout == f"{['--', written]!a}\n"


def test_every_value_that_a_command_takes_is_handed_on() -> None:
    called = re.findall(r"^\t@\$\(CALL\) \S+(.*)$", MAKEFILE, re.MULTILINE)
    taken = {name for words in called for name in re.findall(r"(?<!-)\b[A-Z_]{2,}\b", words)}
    assert {"CONFIG", "RUN", "ON_MISSING"} <= taken <= {*GIVEN}
    assert not [name for name in GIVEN if re.search(rf"^{name}\s*:?=", MAKEFILE, re.MULTILINE)]


def test_words_become_arguments() -> None:
    words = ["CONFIG:-c.yaml", "SET...", "--runs=RUNS...", "--out=OUT"]
    assert arguments(words, {}) == ["--", "c.yaml"]
    given = {"CONFIG": "--help", "SET": "a=1 b='x y'", "RUNS": "1 'two words'", "OUT": "o p"}
    options = ["--runs", "1", "two words", "--out", "o p"]
    assert arguments(words, given) == [*options, "--", "--help", "a=1", "b=x y"]
    assert arguments(["--to=TO"], {"TO": ""}) == []
    with pytest.raises(InputError, match=r"SET must be words .*No closing quotation"):
        arguments(words, {"SET": "it's"})
    with pytest.raises(InputError, match="RUNS must be without a dash"):
        arguments(words, {"RUNS": "a --out=b"})
