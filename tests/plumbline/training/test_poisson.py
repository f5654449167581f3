"""Counts: the model gives their logarithm, and what is stored predicts counts."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from sklearn.linear_model import PoissonRegressor
from torch import Tensor, nn

import plumbline
from plumbline.config.loading import validated
from plumbline.errors import InputError
from plumbline.library import Model
from plumbline.threads import OfPart
from plumbline.training.exported import Exported, export
from plumbline.training.newton import most_likely
from tests.plumbline.tools import ROOT, write

FEATURES = ["temp", "hum", "windspeed"]
MLP = {"kind": "mlp", "hidden": [16]}
NET = "from torch import nn\n\ndef build(inputs, outputs):\n    return nn.Linear(inputs, outputs)\n"


@pytest.fixture
def bikes(tmp_path: Path) -> Path:
    """Bikes hired in an hour, the weather, and a weight."""
    frame = pd.read_csv(ROOT / "data" / "bikes.csv.gz").iloc[::9]
    frame["w"] = frame["hr"] % 3 + 0.5
    frame.to_csv(tmp_path / "bikes.csv", index=False)
    return tmp_path / "bikes.csv"


def trained(path: Path, model: dict | None = None, data: dict | None = None, **given) -> Model:
    table = {"kind": "table", "path": str(path), "target": "bikers", "features": FEATURES}
    training = {"device": "cpu", "loss": "poisson", **given}
    raw = {"experiment": "p", "data": table | (data or {}), "training": training}
    return plumbline.train(validated(raw | ({"model": model} if model else {}), "c.yaml"))


def columns(path: Path) -> tuple[Tensor, Tensor]:
    frame = pd.read_csv(path)
    x = torch.from_numpy(frame[FEATURES].to_numpy("float64")).contiguous()
    return x, torch.from_numpy(frame["bikers"].to_numpy("float64"))


LBFGS = {"optimizer": "lbfgs", "learning_rate": 1.0, "epochs": 10}


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize(("training", "rel"), [(LBFGS, 1e-3), ({"optimizer": "newton"}, 1e-9)])
def test_a_line_predicts_what_scikit_learns_regression_predicts(
    bikes: Path, training: dict, rel: float, weight: str | None
) -> None:
    """L-BFGS stops early."""
    data = {"weight": weight} if weight else {}
    found = trained(bikes, data=data, **training)
    x, y = columns(bikes)
    reference = PoissonRegressor(alpha=0, tol=1e-10, max_iter=1000, solver="newton-cholesky")
    reference.fit(x, y, sample_weight=pd.read_csv(bikes)[weight] if weight else None)
    predicted = found.module(x)[:, 0].detach()
    assert predicted.tolist() == pytest.approx(reference.predict(x), rel=rel)
    stored = Exported(export(found.module, 3))
    assert stored(x)[:, 0].tolist() == pytest.approx(predicted.tolist(), rel=1e-12)


def test_infinite_predictions_have_no_score_and_no_gain(tmp_path: Path) -> None:
    """The expected count is the exponential of the score, which a far feature makes large."""
    x = [*range(40), *range(90_000, 90_010)]
    path = write(tmp_path / "a.csv", {"x": x, "y": [i // 4 for i in range(40)] + [9] * 10})
    data = {"target": "y", "features": ["x"], "split": {"by": "time", "column": "x", "cut": 100}}
    metrics = plumbline.evaluate(trained(path, data=data, optimizer="newton"))
    assert {"train_rmse", "linear_test_rmse", "mean_test_rmse"} < {*metrics}
    assert not {"test_rmse", "gain_over_linear"} & {*metrics}


def test_standard_errors_are_of_the_information_with_the_weights_of_rows(bikes: Path) -> None:
    found = trained(bikes, data={"weight": "w"}, optimizer="newton")
    x, w = columns(bikes)[0], torch.tensor(pd.read_csv(bikes)["w"])
    x = nn.functional.pad(x, (1, 0), value=1.0)
    expected = w * found.module(x[:, 1:])[:, 0]
    errors = torch.linalg.inv(x.mT @ (expected[:, None] * x)).diagonal().sqrt()
    torch.testing.assert_close(found.trained.likelihood.errors[0], errors, rtol=1e-9, atol=0)


def test_the_loss_is_in_the_targets_units(bikes: Path) -> None:
    """The mean of μ - y·log(μ/m), m the training rows' mean of y; at first μ is near m."""
    found = trained(bikes, MLP, epochs=3, patience=0)
    _, y = columns(bikes)
    assert found.trained.losses[0] < 1.2 * float(y.mean())
    assert found.trained.losses[-1] < found.trained.losses[0]
    predicted = found.module(columns(bikes)[0]).detach()
    assert float(predicted.min()) >= float(y.min())
    assert float(predicted.max()) <= float(y.max())


def test_a_module_of_ones_own_trains_as_in_a_plain_loop(bikes: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    model = {"kind": "python", "file": str(tmp_path / "net.py")}
    found = trained(bikes, model, standardize=False, learning_rate=1e-3, epochs=5)
    x, y = columns(bikes)
    torch.manual_seed(42)
    net, losses = nn.Linear(3, 1).double(), []
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(5):
        loss = nn.functional.poisson_nll_loss(net(x), y[:, None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert found.trained.losses == losses
    torch.testing.assert_close(found.module(x), net(x).exp())


@pytest.mark.parametrize("optimizer", ["sgd", "newton"])
def test_counts_below_0_are_refused_by_name(bikes: Path, optimizer: str) -> None:
    bikes.write_text(bikes.read_text() + "1,Jan,1,0,0,6,0,clear,0.24,0.28,0.81,0.0,3,13,-4,1\n")
    with pytest.raises(InputError, match=r"column 'bikers' must hold counts >= 0 .* Got -4"):
        trained(bikes, optimizer=optimizer)


def test_counts_that_are_all_0_have_no_logarithm(bikes: Path) -> None:
    bikes.write_text("".join(f"{each}\n" for each in ["temp,bikers", "1,0", "2,0", "3,0"]))
    with pytest.raises(InputError, match=r"'bikers' must hold counts >= 0, some above 0"):
        trained(bikes, data={"features": ["temp"]}, optimizer="newton")


def test_a_step_of_newton_can_be_sent_to_other_machines(bikes: Path) -> None:
    """Ray takes what is applied to the parts, and the fit stays the same."""
    pickle = pytest.importorskip("ray.cloudpickle", reason="Ray is not installed")

    def elsewhere(function: OfPart, parts: Sequence[str]) -> Iterable[Any]:
        return map(pickle.loads(pickle.dumps(function)), parts)

    here = trained(bikes, optimizer="newton")
    there = most_likely(replace(here.data, map_parts=elsewhere), here.config.training.memory_mb)
    assert torch.equal(there.parameters, here.trained.likelihood.parameters)
