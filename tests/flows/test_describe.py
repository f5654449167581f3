"""make describe: what the pass sees, without training and without a server."""

import pytest

from flows.describe import describe
from flows.support.command import run_command
from tests.flows.conftest import ROOT


def test_penguins_are_described_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    config, path = ROOT / "configs" / "penguins.yaml", ROOT / "data" / "penguins.csv"
    assert run_command(describe, str(config), [f"data.path={path}"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("333 rows (11 more have no target)\n")
    assert "Biscoe 48.9%" in out
    assert "Note: values are missing, and data.missing is drop. The table above shows" in out


def test_generated_rows_are_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(describe, str(ROOT / "configs" / "tutorial.yaml"), []) == 2
    assert "data.kind must be table to be described. Got 'synth" in capsys.readouterr().err
