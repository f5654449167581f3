"""What training begins with is the champion, by the registry as it is when the run begins."""

import pytest
import torch
from mlflow import MlflowClient

from plumbline import library
from plumbline.config.loading import validated
from tasks.starting import find_start
from tasks.tracking.run import Run, tracked_run
from tests.tasks.test_registry import add, logged

RAW = {
    "experiment": "tuned",
    "data": {"kind": "synthetic", "rows": 20, "test_fraction": 0.3},
    "training": {"start": "champion", "epochs": 2},
    "registry": {"model": "m"},
}
CONFIG = validated(RAW, "c.yaml")
DATA = library.read(CONFIG.data, "cpu")


def started_from(run: Run) -> str:
    return run.client.get_run(run.id).data.tags["started_from"]


def test_it_is_named_as_a_tag_by_which_a_resumed_run_finds_it_again(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    add(of=logged(config=CONFIG))
    with tracked_run(CONFIG, "a run", "cpu", "flow", "lease") as run:
        start = find_start(run, CONFIG, DATA)
        assert start.module(torch.full((2, 1), 4.0, dtype=torch.float64)).tolist() == [[4.5]] * 2
        add(of=logged(config=CONFIG))
        assert find_start(run, CONFIG, DATA) is not None
        assert started_from(run) == "models:/m/1"
    assert capsys.readouterr().out.count("training goes on from models:/m/1\n") == 1


def test_without_one_training_starts_fresh_and_stays_so(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracked_run(CONFIG, "a run", "cpu", "flow", "lease") as run:
        assert find_start(run, CONFIG, DATA) is None
        assert "training starts fresh: 'm' has no champion\n" in capsys.readouterr().out
        add(of=logged(config=CONFIG))
        assert find_start(run, CONFIG, DATA) is None
        assert started_from(run) == "fresh"


def test_of_a_champion_that_does_not_fit_the_reason_is_said(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    add(of=logged(config=CONFIG))
    other = validated(RAW | {"model": {"kind": "mlp"}}, "c.yaml")
    with tracked_run(other, "a run", "cpu", "flow", "lease") as run:
        assert find_start(run, other, DATA) is None
    reason = "models:/m/1 does not fit, since its model.kind is linear, and that of this run mlp"
    assert f"training starts fresh: {reason}\n" in capsys.readouterr().out
