"""make compare, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
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
    done = workspace.run("flows.compare", "--experiment", "pair")
    assert (done.status, done.err) == (0, "")
    words = " ".join(done.out.split())
    assert "Experiment 'pair': 2 runs, differences from run 1" in words
    assert "training.epochs 1000 500" in words
    assert "training.learning_rate 0.01 0.05" in words
    assert "training.seed" not in words
    assert "different from run 1: training.epochs=500, training.learning_rate=0.05." in words
    assert "Warning" not in words
    assert max(map(len, done.out.splitlines())) <= 80


def test_runs_are_compared_in_the_order_asked_for(
    workspace: Workspace, pair: tuple[Run, Run]
) -> None:
    first, second = pair
    done = workspace.run(
        "flows.compare", "--experiment", "pair",
        "--runs", second.info.run_id[:10], first.info.run_name,
    )  # fmt: skip
    assert done.status == 0
    assert "training.learning_rate 0.05 0.01" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--experiment", "pear"], "EXPERIMENT must be an experiment (did you mean 'pair'?)."),
        (["--experiment", "pair", "--runs", "tutoriel"], "(did you mean 'tutorial'?). Got 'tuto"),
        (["--out", "no/such/folder/out.html"], "OUT must be a file in a folder that is there"),
    ],
)
def test_wrong_input_is_one_line(
    workspace: Workspace, pair: tuple[Run, Run], arguments: list[str], said: str
) -> None:
    done = workspace.run("flows.compare", *arguments)
    assert (done.status, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert said in done.err


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
