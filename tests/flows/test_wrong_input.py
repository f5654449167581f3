"""Wrong input: one line that says where, what is allowed and what was found; status 2."""

from pathlib import Path

import pytest

from tests.flows.conftest import Workspace

SEEN_IN_THE_CONFIGURATION = {
    "training.epoch=5": "training.epoch is not a known key. Did you mean training.epochs?",
    "training.epochs=ten": "training.epochs must be an integer >= 1 or auto or null. Got 'ten'",
    "training.epochs=0": "training.epochs must be an integer >= 1 or auto or null. Got 0 instead.",
    "data.kind=csv": "data.kind must be synthetic or table. Got 'csv' instead.",
    "prediction.inputs=[[1,2]]": "prediction.inputs[0] must be 1 number(s), one a feature.",
    "experiment=": "experiment must be text not empty and of at most 500 characters. Got None",
}
SEEN_IN_THE_FIRST_FILE = {
    "": "is empty",
    "x,x,y\n1,1,2\n": "column names must differ. Got 'x' 2 times.",
    "x,z\n1,2\n": "data.target must be a column of",
    "x,y\na,2\n": "has no numeric column besides the target 'y'",
}
OWN = """from torch import nn

def build(inputs, outputs):
    return nn.Linear(3, 1)
"""
CONFIG = "experiment: wrong\ndata: {{kind: table, path: {path}, target: y}}\n"


def refused(workspace: Workspace, config: str, *overrides: str) -> str:
    """The one line of a refusal, after checking that it is one."""
    done = workspace.pipeline(config, *overrides)
    assert done.status == 2, done
    assert done.out == ""
    assert len(done.err.splitlines()) == 1, done.err
    assert "Traceback" not in done.err
    assert not [run for run in workspace.runs("wrong") if run.info.status == "RUNNING"]
    return done.err.strip()


@pytest.mark.parametrize("override", SEEN_IN_THE_CONFIGURATION)
def test_what_the_configuration_shows_is_said_of_its_key(
    workspace: Workspace, override: str
) -> None:
    line = refused(workspace, "configs/tutorial.yaml", override)
    assert SEEN_IN_THE_CONFIGURATION[override] in line


@pytest.mark.parametrize("text", ["experiment: [", "a: 1\na: 2\n", "- 1\n"])
def test_broken_yaml_is_said_with_the_file(workspace: Workspace, text: str) -> None:
    (workspace.root / "broken.yaml").write_text(text)
    assert refused(workspace, "broken.yaml").startswith("broken.yaml: ")


@pytest.mark.parametrize("text", SEEN_IN_THE_FIRST_FILE)
def test_what_the_files_head_shows_is_said_before_anything_starts(
    workspace: Workspace, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    config = tmp_path / "wrong.yaml"
    config.write_text(CONFIG.format(path=path))
    line = refused(workspace, str(config))
    assert SEEN_IN_THE_FIRST_FILE[text] in line
    assert "wrong.csv" in line


def test_a_wrong_cell_is_said_with_file_column_and_row_and_the_run_is_failed(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("x,y\n" + "1,2\n" * 1000 + "1,two\n")
    config = tmp_path / "cells.yaml"
    config.write_text(CONFIG.format(path=path))
    assert refused(workspace, str(config)) == (
        f"{path}: column 'y', row 1001 must be a number. Got 'two' instead."
    )
    assert workspace.runs("wrong")[0].info.status == "FAILED"


def test_an_absent_device_is_refused_with_the_present_ones(workspace: Workspace) -> None:
    line = refused(workspace, "configs/tutorial.yaml", "training.device=cuda:99")
    assert "(auto, cpu" in line


def test_a_module_of_ones_own_is_tried_before_anything_starts(workspace: Workspace) -> None:
    own = workspace.root / "models" / "own.py"
    own.write_text(
        "from torch import nn\n\ndef build(inputs, outputs):\n    return nn.Linear(3, 1)\n"
    )
    given = ("configs/python.yaml", "experiment=wrong", "model.file=models/own.py")
    line = refused(workspace, *given, "model.options={}")
    assert line.startswith("models/own.py, line 3: the module failed on (2, 1) float64 features")
    line = refused(workspace, *given, "model.options={width: 4}")
    assert (
        line == "model.options.width is no option of build (models/own.py, line 3). It takes none."
    )
