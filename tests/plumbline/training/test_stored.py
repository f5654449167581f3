"""A training goes on where a stored model's ended, or says why it cannot."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plumbline import library
from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.library import Model
from plumbline.training import experiment
from plumbline.training.exported import export
from plumbline.training.model import LinearModel
from plumbline.training.stored import StoredModel
from plumbline.training.trained import Trained
from tasks.tracking.experiment import params_of
from tests.plumbline.tools import write

NET = """from torch import nn
def build(inputs, outputs):
    return nn.Sequential(nn.BatchNorm1d(inputs, momentum=1e-9), nn.Linear(inputs, outputs))
"""
MLP = {"kind": "mlp", "hidden": [8], "ensemble": 2}
LINE = {"kind": "linear"}
ADAM = {"optimizer": "adam", "learning_rate": 0.1, "epochs": 30}
CASES = {
    "a line": ("y", LINE, {"epochs": 30}, {}),
    "of a logarithm": ("y", LINE, {"epochs": 30}, {"log_target": True}),
    "without an intercept": ("y", LINE, {"epochs": 30, "bias": False}, {}),
    "absolute errors": ("y", LINE, {**ADAM, "loss": "l1"}, {}),
    "counts": ("count", LINE, {**ADAM, "loss": "poisson"}, {}),
    "classes": ("class", LINE, ADAM, {}),
    "a net": ("y", MLP, {"epochs": 30}, {}),
    "a net of a logarithm": ("y", MLP, {"epochs": 30}, {"log_target": True}),
    "a net of classes": ("class", MLP, {"epochs": 30}, {}),
    "a user's net": ("y", {"kind": "python", "file": "net.py"}, {"epochs": 30}, {}),
}


def table(path: Path, shift: float = 0.0) -> str:
    """60 rows of which the target depends on a number far from 0 and on a level."""
    x = [2000 + shift + (7 * n % 60) / 10 for n in range(60)]
    noise = [0.1 * (n * n % 11) for n in range(60)]
    y = [10 + (v - 2000) + 3 * (n % 3) + e for n, (v, e) in enumerate(zip(x, noise, strict=True))]
    columns = {"x": x, "town": ["abc"[n % 3] for n in range(60)]}
    write(path, {**columns, "y": y})
    write(path.with_name(f"count_{path.name}"), {**columns, "count": map(round, y)})
    kinds = ["high" if v > 15 else "low" for v in y]
    write(path.with_name(f"class_{path.name}"), {**columns, "class": kinds})
    return str(path)


def experiment_of(path: Path, target: str, model: dict, training: dict, data: dict) -> Config:
    name = path if target == "y" else path.with_name(f"{target}_{path.name}")
    section = {"kind": "table", "path": str(name), "target": target, **data}
    raw = {"experiment": "e", "data": section, "model": model, "training": training}
    return validated(raw, "c.yaml")


def stored(model: Model) -> StoredModel:
    """What is known of a model once it was stored: of a line its numbers, else its pt2 file."""
    module, data = model.module, model.data
    if not isinstance(module, LinearModel):
        content = export(module, len(data.encoding.features))
        module = torch.export.load(io.BytesIO(content)).module()
    return StoredModel(data.target, data.encoding, module, params_of(model.config, "cpu"))


def gone_on(before: Model, config: Config) -> tuple[Trained, str]:
    """A training that begins with a model, and what stands in its way."""
    start, now = stored(before), library.train(config)
    obstacle = start.obstacle(now.config, now.data)
    return experiment.train(
        now.config, now.data, "cpu", start=None if obstacle else start
    ), obstacle


@pytest.mark.parametrize("case", CASES)
def test_it_begins_with_the_same_predictions_though_the_scales_are_others(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    for name, shift in (("then.csv", 0.0), ("now.csv", 1.5)):
        table(tmp_path / name, shift)
    target, model, training, data = CASES[case]
    before = library.train(experiment_of(tmp_path / "then.csv", target, model, training, data))
    still = {**training, "epochs": 1, "learning_rate": 1e-12}
    after, obstacle = gone_on(
        before, experiment_of(tmp_path / "now.csv", target, model, still, data)
    )
    assert obstacle == ""
    towns = torch.eye(3, dtype=torch.float64)[:, 1:]
    rows = torch.cat([torch.tensor([[2001.0], [2003.0], [2004.5]]).double(), towns], dim=1)
    expected = before.module(rows).detach()
    assert torch.allclose(after.module(rows).double(), expected.double(), rtol=2e-5, atol=1e-5)


def test_a_line_is_at_its_optimum_sooner(tmp_path: Path) -> None:
    training = {"epochs": 5000, "tolerance": 1e-6, "learning_rate": 0.05}
    for name, shift in (("then.csv", 0.0), ("now.csv", 0.2)):
        table(tmp_path / name, shift)
    before = library.train(experiment_of(tmp_path / "then.csv", "y", LINE, training, {}))
    config = experiment_of(tmp_path / "now.csv", "y", LINE, training, {})
    after, _ = gone_on(before, config)
    assert len(after.losses) < 0.9 * len(library.train(config).trained.losses)
    assert after.losses[0] < 1.1 * before.trained.losses[-1]
    assert after.exact.optimum.mse == pytest.approx(after.losses[-1], abs=1e-5)


OTHER = {
    "its model.kind is mlp, and that of this run linear": {"model": LINE},
    "its model.activation is relu, and that of this run tanh": {
        "model": {**MLP, "activation": "tanh"}
    },
    "its training.standardize is true, and that of this run false": {
        "training": {"standardize": False}
    },
    "its data.seed is 42, and that of this run 7": {"data": {"seed": 7}},
    "its data.log_target is False, and that of this run True": {"data": {"log_target": True}},
    "its training.loss is mse, and that of this run poisson": {"training": {"loss": "poisson"}},
    "it needs 'x', which is not in the data": {"data": {"exclude": ["x"]}},
    "its target is y, and that of this run x": {"data": {"target": "x"}},
    "net.body.0.weight is [2, 6, 8] in it, and [2, 6, 9] in this run's net": {
        "model": {**MLP, "hidden": [9]}
    },
    "net.body.2.weight is missing in it, and [2, 8, 8] in this run's net": {
        "model": {**MLP, "hidden": [8, 8]}
    },
}


@pytest.mark.parametrize("told", OTHER)
def test_what_does_not_fit_is_said_and_training_starts_fresh(told: str, tmp_path: Path) -> None:
    path, training = tmp_path / "then.csv", {"epochs": 2}
    table(path)
    given = {"data": {}, "model": MLP, "training": training}
    before = library.train(experiment_of(path, "y", **given))
    given |= {key: {**given[key], **value} for key, value in OTHER[told].items() if key != "model"}
    given |= {"model": OTHER[told].get("model", MLP)}
    config = experiment_of(path, "y", **given)
    after, obstacle = gone_on(before, config)
    assert told in obstacle
    assert after.losses == library.train(config).trained.losses


@pytest.mark.parametrize("day", [False, True], ids=["numbers", "dates"])
def test_only_a_later_cut_leaves_out_of_the_test_rows_what_was_trained_on(
    day: bool, tmp_path: Path
) -> None:
    days = [f"2026-01-{n:02d}" for n in range(1, 31)]
    write(tmp_path / "rows.csv", {"x": days if day else range(30), "z": range(30), "y": range(30)})
    later, earlier = ("2026-01-10", "2026-01-09") if day else ("10.0", "9.0")

    def held_out(since: str) -> Config:
        split = {"by": "time", "column": "x", "cut": since if day else float(since)}
        return experiment_of(tmp_path / "rows.csv", "y", LINE, {"epochs": 2}, {"split": split})

    def obstacle(before: str, now: str) -> str:
        return gone_on(library.train(held_out(before)), held_out(now))[1]

    assert obstacle(earlier, later) == ""
    said = f"its data.split.cut is {later}, and that of this run {earlier}"
    assert obstacle(later, earlier) == said


def test_a_column_or_a_level_that_is_new_is_said(tmp_path: Path) -> None:
    path, now = tmp_path / "then.csv", tmp_path / "now.csv"
    for each in (path, now):
        table(each)
    now.write_text(now.read_text().replace(",b,", ",d,"))
    whole = experiment_of(path, "y", LINE, {}, {})
    before = library.train(experiment_of(path, "y", LINE, {"epochs": 2}, {"exclude": ["town"]}))
    assert gone_on(before, whole)[1] == "it does not know 'town=a', which is in the data"
    renamed = experiment_of(now, "y", LINE, {}, {})
    obstacle = gone_on(library.train(whole), renamed)[1]
    assert obstacle == "it does not know 'town=d', which is in the data"


@pytest.mark.parametrize("path", [None, "then.csv"], ids=["generated", "a table"])
def test_a_key_that_came_after_the_champion_counts_as_what_it_did(
    path: str | None, tmp_path: Path
) -> None:
    data: dict = {"kind": "synthetic", "x": [1, 2, 3, 4], "test_fraction": 0.5}
    if path:
        table(tmp_path / path)
        data = {"kind": "table", "path": str(tmp_path / path), "target": "y", "test_fraction": 0.5}
    model = library.train(validated({"experiment": "e", "data": data}, "c.yaml"))
    champion = stored(model)
    later = ("model.", "data.split.", "data.validation_fraction", "training.start")
    known = {key: text for key, text in champion.settings.items() if not key.startswith(later)}
    champion = replace(champion, settings=known)
    assert champion.obstacle(model.config, model.data) == ""
    assert champion.other_split(model.config) == ""
