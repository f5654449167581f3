"""The other commands, as a user runs them."""

import csv
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from mlflow.entities import Run

from flows.support.command import run_command
from flows.support.server import free_port
from tests.flows.conftest import ROOT, Done, Workspace


def test_predict_takes_columns_by_name_passes_others_through_and_leaves_out_what_it_is_asked_to(
    workspace: Workspace, tutorial: tuple[Done, Run], tmp_path: Path
) -> None:
    rows, output = tmp_path / "rows.csv", tmp_path / "out.csv"
    rows.write_text("id,x\na,5.0\nb,\nc,inf\n")
    uri = f"runs:/{tutorial[1].info.run_id}/model"
    options = ("--model", uri, "--keep", "id, id", "--on-missing", "null")
    done = workspace.run("flows.predict", str(rows), str(output), *options)
    assert done.status == 0, done.err
    assert "Rows without a prediction: 2. The first: " in done.out
    assert "rows.csv: column 'x', row 2 " in done.out
    with output.open() as lines:
        found = list(csv.DictReader(lines))
    assert output.read_text().startswith('"id","prediction"\n')
    assert [row["id"] for row in found] == ["a", "b", "c"]
    assert float(found[0]["prediction"]) == pytest.approx(9.9608, abs=5e-5)
    assert [row["prediction"] for row in found[1:]] == ["", ""]


def test_help_lists_every_target_once() -> None:
    printed = subprocess.check_output(["make", "help"], cwd=ROOT, text=True)
    listed = re.findall(r"^  make (\S+) ", printed, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(phony.group(1).split())


def test_the_commands_help_names_every_key(workspace: Workspace) -> None:
    done = workspace.run("flows.pipeline", "--help")
    assert done.status == 0
    assert "training.learning_rate: a number > 0 or auto or null; default 0.01" in done.out


def test_a_prefect_server_that_went_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"http://127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with httpx.Client() as client:
            assert run_command(client.get, f"{address}/health") == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"the Prefect server at {address} no longer answers (ConnectError" in said
