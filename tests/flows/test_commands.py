"""The other commands, as a user runs them."""

import csv
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow.entities import Run

from tests.flows.conftest import ROOT, Done, Workspace


def test_predict_takes_columns_by_name_and_passes_others_through(
    workspace: Workspace, tutorial: tuple[Done, Run], tmp_path: Path
) -> None:
    rows, output = tmp_path / "rows.csv", tmp_path / "out.csv"
    rows.write_text("id,x\na,5.0\nb,1.0\n")
    uri = f"runs:/{tutorial[1].info.run_id}/model"
    done = workspace.run("flows.predict", str(rows), str(output), "--model", uri, "--keep", "id")
    assert done.status == 0, done.err
    with output.open() as lines:
        found = list(csv.DictReader(lines))
    assert [row["id"] for row in found] == ["a", "b"]
    assert float(found[0]["prediction"]) == pytest.approx(9.9608, abs=5e-5)


def test_predict_leaves_what_cannot_be_predicted_empty_where_it_is_asked_to(
    workspace: Workspace, tutorial: tuple[Done, Run], tmp_path: Path
) -> None:
    rows, output = tmp_path / "rows.csv", tmp_path / "out.csv"
    rows.write_text("id,x\na,5.0\nb,\nc,inf\n")
    uri = f"runs:/{tutorial[1].info.run_id}/model"
    command = ("flows.predict", str(rows), str(output), "--model", uri)
    done = workspace.run(*command)
    assert (done.status, len(done.err.splitlines()), output.exists()) == (2, 1, False)
    done = workspace.run(*command, "--on-missing", "null")
    assert done.status == 0, done.err
    assert "2 of them have no prediction. The first: " in done.out
    assert "rows.csv: column 'x', row 2 " in done.out
    assert output.read_text().splitlines()[2:] == ['""', '""']


def test_predict_does_not_write_over_its_input(workspace: Workspace, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("x\n5.0\n")
    done = workspace.run("flows.predict", str(rows), str(rows))
    assert (done.status, len(done.err.splitlines())) == (2, 1)
    assert rows.read_text() == "x\n5.0\n"


def test_ui_opens_both_prints_where_and_ends_with_ctrl_c(
    workspace: Workspace,
    started: Callable[..., subprocess.Popen],
    tutorial: tuple[Done, Run],
) -> None:
    process = started("flows.ui")
    lines = [process.stdout.readline() for _ in range(3)]
    addresses = re.findall(r"http://127\.0\.0\.1:\d+", "".join(lines))
    assert len(addresses) == 2
    for address in addresses:
        with urlopen(address, timeout=30) as page:
            assert "html" in page.read().decode().lower()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert workspace.processes() == []


def test_help_lists_every_target_once() -> None:
    printed = subprocess.check_output(["make", "help"], cwd=ROOT, text=True)
    listed = re.findall(r"^  make (\S+) ", printed, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(phony.group(1).split())


def test_the_commands_help_names_every_key(workspace: Workspace) -> None:
    done = workspace.run("flows.pipeline", "--help")
    assert done.status == 0
    assert "training.learning_rate: a number > 0 or auto or null; default 0.01" in done.out
