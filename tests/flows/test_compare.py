"""make compare, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

from mlflow.entities import Run

from tests.flows.conftest import Workspace

IMPORTS = """
import json, pathlib, sys
from flows.compare import compare
from flows.support.command import run_command
status = run_command(compare, "pair", out=pathlib.Path(sys.argv[1]))
print(json.dumps([status, sorted({"torch", "prefect"} & set(sys.modules))]))
"""


def test_the_table_says_what_differs_and_which_is_best(
    workspace: Workspace, pair: tuple[Run, Run]
) -> None:
    first, second = pair
    done = workspace.run(
        "flows.compare", "--experiment", "pair",
        "--runs", second.info.run_id[:10], first.info.run_name,
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    words = " ".join(done.out.split())
    assert "Experiment 'pair': 2 runs, differences from run 1" in words
    assert "training.epochs 500 1000" in words
    assert "training.learning_rate 0.05 0.01" in words
    assert "training.seed" not in words
    assert "Best train_rmse: run 1" in words
    assert "Warning" not in words
    assert max(map(len, done.out.splitlines())) <= 80


def test_wrong_input_is_one_line(workspace: Workspace) -> None:
    done = workspace.run("flows.compare", "--out", "no/such/folder/out.html")
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "OUT must be a file in a folder that exists" in done.err


def test_it_starts_without_torch_prefect_or_a_server(
    workspace: Workspace, pair: tuple[Run, Run], tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    printed = subprocess.check_output(
        [sys.executable, "-c", IMPORTS, str(report)],
        cwd=workspace.root, env=workspace.environment, text=True,
    )  # fmt: skip
    assert json.loads(printed.splitlines()[-1]) == [0, []]
    assert report.read_text().count("<svg") == 1
    assert workspace.processes() == []
