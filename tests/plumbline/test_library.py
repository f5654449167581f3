"""What the documentation shows of Python use runs without a server, with the numbers of a run."""

import re
import subprocess
import sys

import pandas as pd
import pytest
import torch

from plumbline import evaluate, load_config, predict, predict_proba, train
from plumbline.config.loading import validated
from plumbline.data.sources import Synthetic
from plumbline.errors import InputError
from plumbline.linear.compress import compress
from plumbline.linear.dataset import Dataset
from plumbline.linear.summary import combine
from plumbline.training.experiment import attempt
from tests.plumbline.tools import ROOT, write

BLOCK = re.compile(r"```python\n(from plumbline import .*?)```", re.DOTALL)
SERVERS = "import sys; assert not {'prefect', 'mlflow'} & set(sys.modules)"
LIGHT = "import sys, plumbline.config.loading; assert 'torch' not in sys.modules"


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_lines_of_the_documentation_run_without_a_server(page: str) -> None:
    (code,) = BLOCK.findall((ROOT / page).read_text())
    assert python(f"{code}\n{SERVERS}")


def test_a_configuration_is_read_without_torch() -> None:
    python(LIGHT)


def test_the_tutorial_predicts_what_it_always_predicts() -> None:
    epochs: list[int] = []
    config = load_config(ROOT / "configs" / "tutorial.yaml")
    model = train(config, lambda epoch, loss: epochs.append(epoch))
    assert f"{predict(model, [5.0])[0]:.4f}" == "9.9608"
    assert epochs == list(range(1, 1001))
    source = Synthetic(config.data)
    whole = combine([compress(source, part, config.data) for part in source.parts])
    outcome = attempt(config, Dataset.of(whole, config.data, source, {}), "cpu")
    assert model.trained.losses == outcome.losses
    assert evaluate(model) == outcome.metrics


def test_a_row_that_does_not_fit_is_refused_by_its_place() -> None:
    model = train(load_config(ROOT / "configs" / "tutorial.yaml", ["training.epochs=1"]))
    with pytest.raises(InputError, match=r"rows\[1\] must be 1 value"):
        predict(model, [5.0, [1.0, 2.0]])
    for one in (5.0, {"x": 5.0}, torch.tensor(5.0)):
        with pytest.raises(InputError, match="rows must be a list of rows, even for one"):
            predict(model, one)
    assert predict(model, iter([5.0])) == predict(model, pd.Series([5.0]))


def test_a_frame_of_new_rows_is_predicted_whatever_else_it_holds(tmp_path) -> None:
    rows = {"x": [0.0, 1.0, 2.0, 3.0], "g": ["u", "v", "u", "v"], "y": [1.0, 4.0, 5.0, 8.0]}
    path = write(tmp_path / "a.csv", rows)
    data = {"kind": "table", "path": str(path), "target": "y"}
    training = {"optimizer": "exact"}
    model = train(validated({"experiment": "e", "data": data, "training": training}, "c.yaml"))
    new = pd.read_csv(path)[["y", "g", "x"]].set_index(pd.Index([7, 5, 3, 1]))
    assert predict(model, new) == pytest.approx(rows["y"])
    assert predict(model, new.add_prefix(" ")) == pytest.approx(rows["y"])
    with pytest.raises(InputError, match=r"rows must have the columns x, g. Got y, x instead"):
        predict(model, new.drop(columns="g"))
    assert predict(model, new[["x", "g"]].to_numpy()) == pytest.approx(rows["y"])
    with pytest.raises(InputError, match=r"must have the columns x, g. Got 0, 1 instead"):
        predict(model, pd.DataFrame([[1.0, "u"]]))
    with pytest.raises(InputError, match=r"must have the columns x, g. Got y instead"):
        predict(model, new[["y"]])


def test_all_rows_pass_the_module_at_once_and_a_wrong_one_is_named(tmp_path) -> None:
    """So a table of 8,645 rows takes a second; one at a time each took 5 ms."""
    rows = {"x": torch.arange(300.0).tolist(), "g": ["u", "v", "v"] * 100}
    rows["y"] = [x**1.5 + (g == "u") for x, g in zip(*rows.values(), strict=True)]
    path = write(tmp_path / "a.csv", rows)
    config = {"experiment": "e", "data": {"kind": "table", "path": str(path), "target": "y"}}
    config |= {"model": {"kind": "mlp"}, "training": {"epochs": 1}}
    model = train(validated(config, "c.yaml"))
    (features,) = model.data.rows(("train", "validation"), model.data.encoding.features)
    new = pd.read_csv(path)
    with torch.no_grad():
        assert predict(model, new) == model.module(features)[:, 0].tolist()
    new.loc[17, "g"] = "w"
    with pytest.raises(InputError, match=r"rows\[17\]: column 'g' must be one of u, v. Got 'w'"):
        predict(model, new)
    assert predict(model, []) == []


@pytest.mark.parametrize("loss", ["poisson", "mlp"])
def test_a_model_without_a_least_squares_optimum_says_so_if_asked_for_coefficients(loss) -> None:
    changes = {"poisson": "training.loss=poisson", "mlp": "model.kind=mlp"}[loss]
    model = train(load_config(ROOT / "configs" / "tutorial.yaml", [changes, "training.epochs=1"]))
    with pytest.raises(InputError, match=r"trained.likelihood has the parameters that newton"):
        _ = model.trained.coefficients


def test_older_files_weigh_less(tmp_path) -> None:
    for name, y in (("1", 0.0), ("2", 3.0)):
        write(tmp_path / f"{name}.csv", {"x": [1.0, 1.0], "y": [y, y]})
    data = {"kind": "table", "path": str(tmp_path), "target": "y", "window": {"half_life": 1}}
    raw = {"experiment": "e", "data": data, "training": {"optimizer": "exact"}}
    model = train(validated(raw, "c.yaml"))
    assert predict(model, [1.0])[0] == pytest.approx(2.0, rel=1e-12)


def test_a_net_is_worth_its_name_on_the_bikes_that_ship() -> None:
    metrics = evaluate(train(load_config("configs/bikes.yaml", ["training.epochs=10"])))
    assert metrics["test_rmse"] < 40 < 75 < metrics["linear_test_rmse"] < 80


def test_a_net_trains_evaluates_and_predicts_like_a_line(tmp_path) -> None:
    x = [n / 50 for n in range(300)]
    write(tmp_path / "rows.csv", {"x": x, "y": [(v - 3) ** 2 for v in x]})
    raw = {
        "experiment": "e",
        "data": {
            "kind": "table", "path": str(tmp_path / "rows.csv"), "target": "y",
            "test_fraction": 0.3,
        },
        "model": {"kind": "mlp", "hidden": [16]},
        "training": {"epochs": 40, "batch_size": 16},
    }  # fmt: skip
    told: list[dict] = []
    model = train(validated(raw, "c.yaml"), lambda epoch, loss, **others: told.append(others))
    metrics = evaluate(model)
    assert {"validation_loss"} == set(told[0])
    assert [each["validation_loss"] for each in told] == model.trained.validation_losses
    assert metrics["gain_over_linear"] > 0.5
    assert metrics["test_rmse"] < 0.5 * metrics["linear_test_rmse"] < metrics["mean_test_rmse"]
    rows = torch.tensor([[1.0], [5.0]], dtype=torch.float64)
    assert predict(model, [1.0, 5.0]) == model.module(rows)[:, 0].tolist()
    assert predict(model, rows) == predict(model, rows.numpy()) == predict(model, [1.0, 5.0])
    assert model.trained.exact is None


def test_the_probabilities_of_classes_are_the_softmax_of_the_module(tmp_path) -> None:
    x = [0.1 * i for i in range(60)]
    path = write(
        tmp_path / "a.csv",
        {"x": x, "y": ["lo" if i % 9 < 3 + i // 12 else "hi" for i in range(60)]},
    )
    raw = {"experiment": "e", "data": {"kind": "table", "path": str(path), "target": "y"}}
    model = train(validated(raw, "c.yaml"))
    found = predict_proba(model, [0.5, 5.5])
    assert [*found.columns] == ["hi", "lo"]
    logits = model.module(torch.tensor([[0.5], [5.5]], dtype=torch.float64))
    assert found.to_numpy() == pytest.approx(logits.softmax(dim=1).numpy(), abs=1e-15)
    assert predict(model, [0.5, 5.5]) == [*found.idxmax(axis=1)]
    number = train(load_config(ROOT / "configs" / "tutorial.yaml", ["training.epochs=1"]))
    with pytest.raises(InputError, match="needs a target with classes"):
        predict_proba(number, [5.0])
