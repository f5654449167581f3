"""Wrong input: one line that says where, what is allowed and what was found; status 2."""

from pathlib import Path

import pytest

from flows.pipeline import check
from flows.predict import predict
from flows.support.command import run_command
from plumbline.config.loading import load_config
from tests.flows.conftest import ROOT, Workspace

SEEN_IN_THE_CONFIGURATION = {
    "training.epoch=5": "training.epoch is not a known key. Did you mean training.epochs?",
    "training.epochs=ten": "training.epochs must be an integer >= 1 or auto or null. Got 'ten'",
    "training.epochs=0": "training.epochs must be an integer >= 1 or auto or null. Got 0 instead.",
    "data.kind=csv": "data.kind must be synthetic or table. Got 'csv' instead.",
    "prediction.inputs=[[1,2]]": "prediction.inputs[0] must be 1 number(s), one per feature.",
    "experiment=": "experiment must be non-empty text of at most 500 characters. Got None",
}
CONFIG = "experiment: wrong\ndata: {{kind: table, path: {path}, target: y}}\n"


@pytest.fixture(scope="module")
def workspace(served: Workspace) -> Workspace:
    return served


def refused_here(capsys: pytest.CaptureFixture[str], config: Path, *overrides: str) -> str:
    """The one line of a refusal before anything starts, after checking that it is one."""
    assert run_command(lambda: check(load_config(config, overrides))) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1), err
    return err.strip()


@pytest.mark.parametrize("override", SEEN_IN_THE_CONFIGURATION)
def test_what_the_configuration_shows_is_said_of_its_key(
    capsys: pytest.CaptureFixture[str], override: str
) -> None:
    line = refused_here(capsys, ROOT / "configs" / "tutorial.yaml", override)
    assert SEEN_IN_THE_CONFIGURATION[override] in line


@pytest.mark.parametrize("text", ["experiment: [", "a: 1\na: 2\n", "- 1\n"])
def test_broken_yaml_is_said_with_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text(text)
    assert refused_here(capsys, config).startswith(f"{config}: ")


def test_what_the_files_head_shows_is_said_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("x,z\n1,2\n")
    config = tmp_path / "wrong.yaml"
    config.write_text(CONFIG.format(path=path))
    line = refused_here(capsys, config)
    assert line.startswith(f"data.target must be a column of {path}")


def test_a_prediction_without_input_says_which_variable_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(lambda: predict("", "out.csv")) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("INPUT must name a file, a folder or a glob of files to predict. Give it")


def test_a_wrong_cell_is_said_with_file_column_and_row_and_the_run_is_failed(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("x,y\n" + "1,2\n" * 1000 + "1,two\n")
    config = tmp_path / "cells.yaml"
    config.write_text(CONFIG.format(path=path))
    line = (
        f"{path}: column 'y', row 1001 must be a number. Got 'two' instead; fix it (leave it "
        "empty if it is missing), or list the column in data.categorical (names) or data.exclude "
        "(ids).\n"
    )
    done = workspace.pipeline(str(config))
    assert (done.status, done.out, done.err) == (2, "", line)
    assert workspace.runs("wrong")[0].info.status == "FAILED"


def test_a_module_of_ones_own_is_tried_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    Path("own.py").write_text(
        "from torch import nn\n\ndef build(inputs, outputs):\n    return nn.Linear(3, 1)\n"
    )
    given = (capsys, ROOT / "configs" / "python.yaml", "model.file=own.py")
    line = refused_here(*given, "model.options={}")
    assert line.startswith("own.py, line 3: the module failed on (2, 1) float64 features")
    line = refused_here(*given, "model.options={width: 4}")
    assert line == "model.options.width is no option of build (own.py, line 3). It takes none."
