"""Weights of rows count in every loss, score and baseline as repeated rows would."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from torch import nn

import plumbline
from plumbline.config.loading import validated
from plumbline.library import Model
from plumbline.registry.scoring import score
from plumbline.training.prediction import gaussian_interval
from plumbline.training.stored import StoredModel
from tests.plumbline.tools import refusal, write

BOTH = pytest.mark.parametrize("kind", ["csv", "parquet"])
N = 60
LINES = [{"optimizer": "exact"}, {"epochs": 7}, {"loss": "l1", "epochs": 7}]
NET = "from torch import nn\n\ndef build(inputs, outputs):\n    return nn.Linear(inputs, outputs)\n"


def table(classes: bool = False) -> dict[str, np.ndarray]:
    """A target y that does not quite follow from a and b, and whole weights, some of them 0."""
    random = np.random.default_rng(3)
    a, b, noise = random.normal(size=(3, N))
    y = 2 * a - b + noise
    y = np.array(["no", "yes"])[(y > 0).astype(int)] if classes else y
    return {"a": a, "b": b, "y": y, "w": random.integers(0, 4, N).astype(float)}


def repeated(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each row as often as its weight says."""
    times = rows["w"].astype(int)
    return {name: values.repeat(times) for name, values in rows.items() if name != "w"}


def trained(
    path: Path,
    rows: dict[str, np.ndarray],
    training: dict[str, Any],
    model: Any = None,
    **data: Any,
) -> Model:
    write(path, {name: values.tolist() for name, values in rows.items()})
    given = {"kind": "table", "path": str(path), "target": "y", **data}
    raw = {"experiment": "e", "data": given, "training": {"device": "cpu", **training}}
    return plumbline.train(validated(raw | ({"model": model} if model else {}), "c.yaml"))


def both(tmp_path: Path, kind: str, rows: dict, training: dict, model: Any = None) -> list[Model]:
    """Trained on weighted rows, and on repeated ones."""
    weighted = trained(tmp_path / f"w.{kind}", rows, training, model, weight="w")
    return [weighted, trained(tmp_path / f"r.{kind}", repeated(rows), training, model)]


@BOTH
@pytest.mark.parametrize("training", LINES)
def test_a_line_learns_what_it_learns_from_repeated_rows(
    tmp_path: Path, kind: str, training: dict
) -> None:
    weighted, plain = both(tmp_path, kind, table(), training)
    assert weighted.data.encoding.features == ("a", "b")
    assert weighted.trained.losses == pytest.approx(plain.trained.losses, rel=1e-10)
    scores = plumbline.evaluate(plain)
    for name, value in plumbline.evaluate(weighted).items():
        if "rows" not in name:
            assert value == pytest.approx(scores[name], rel=1e-9, abs=1e-12), name


def test_standard_errors_are_those_of_weighted_least_squares(tmp_path: Path) -> None:
    """A row's weight is the inverse of its variance; degrees of freedom count rows."""
    rows = table()
    best = trained(
        tmp_path / "a.csv", rows, {"optimizer": "exact"}, weight="w"
    ).trained.exact.optimum
    w = rows["w"]
    x = np.stack([np.ones(N), rows["a"], rows["b"]], axis=1)
    inverse = np.linalg.inv(x.T @ (w[:, None] * x))
    theta = inverse @ x.T @ (w * rows["y"])
    variance = (w * (rows["y"] - x @ theta) ** 2).sum() / ((w > 0).sum() - 3)
    errors = np.sqrt(variance * inverse.diagonal())
    assert [c.value for c in best.coefficients] == pytest.approx(theta)
    assert [c.error for c in best.coefficients] == pytest.approx(errors)


def test_weights_of_rows_and_the_age_of_files_multiply_in_fits_folds_and_intervals(
    tmp_path: Path,
) -> None:
    """Degrees of freedom count a row by its age, whatever its own weight."""
    ages = np.repeat([1, 0], N)
    for age in (1, 0):
        write(tmp_path / f"{1 - age}.csv", {k: v + age for k, v in table().items()})
    given = {"window": {"half_life": 1}, "folds": 3, "weight": "w"}
    data = {"kind": "table", "path": str(tmp_path), "target": "y", **given}
    raw = {"experiment": "e", "data": data, "training": {"optimizer": "exact", "device": "cpu"}}
    found = plumbline.train(validated(raw, "c.yaml"))
    rows = {k: np.concatenate([v + 1, v]) for k, v in table().items()}
    w, x = rows["w"] * 0.5**ages, np.stack([np.ones(2 * N), rows["a"], rows["b"]], axis=1)
    inverse = np.linalg.inv(x.T @ (w[:, None] * x))
    theta = inverse @ x.T @ (w * rows["y"])
    free = (0.5 ** ages[rows["w"] > 0]).sum() - 3
    variance = (w * (rows["y"] - x @ theta) ** 2).sum() / free
    best = found.trained.exact.optimum
    assert [c.value for c in best.coefficients] == pytest.approx(theta)
    errors = np.sqrt(variance * inverse.diagonal())
    assert [c.error for c in best.coefficients] == pytest.approx(errors)
    low, high = gaussian_interval(found.trained.exact, torch.tensor([0.3, -1.0]).double(), 0.9)
    new = np.array([1, 0.3, -1.0])
    width = stats.t.ppf(0.95, free) * np.sqrt(variance * (1 + new @ inverse @ new))
    assert (low, high) == pytest.approx((new @ theta - width, new @ theta + width))
    assert sum(fold.weight for fold in found.data.summary.folds) == pytest.approx(w.sum())


@pytest.mark.parametrize("batch", [None, 8])
def test_losses_are_those_of_a_plain_loop(tmp_path: Path, batch: int | None) -> None:
    """Each batch's loss is its weighted sum over its rows and the mean weight of all."""
    (tmp_path / "net.py").write_text(NET)
    given = {"learning_rate": 0.1, "epochs": 5, "batch_size": batch, "standardize": False}
    net = {"kind": "python", "file": str(tmp_path / "net.py")}
    rows = table()
    found = trained(tmp_path / "a.csv", rows, given, net, weight="w")
    kept = rows["w"] > 0
    x, y, w = (
        torch.from_numpy(each[kept])
        for each in (np.stack([rows["a"], rows["b"]], axis=1), rows["y"][:, None], rows["w"])
    )
    torch.manual_seed(42)
    model = nn.Linear(2, 1).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch, loss in enumerate(found.trained.losses, start=1):
        order, total = torch.arange(len(w)), 0.0
        if batch:
            random = torch.Generator().manual_seed(42 * 1_000_003 + epoch)
            torch.randperm(1, generator=random)  # the order of the one file
            order = torch.randperm(len(w), generator=random)
        for some in order.split(batch or len(w)):
            each = w[some, None] * (model(x[some]) - y[some]) ** 2
            optimizer.zero_grad()
            (each.mean() / w.mean()).backward()
            optimizer.step()
            total += (each.sum() / w.sum()).item()
        assert loss == pytest.approx(total, rel=1e-12)


def test_classes_learn_what_scikit_learn_learns_and_score_as_it_scores(tmp_path: Path) -> None:
    rows = table(classes=True)
    found = trained(tmp_path / "a.csv", rows, {}, weight="w", test_fraction=0.3)
    x = np.stack([rows["a"], rows["b"]], axis=1)
    held = np.isin(rows["a"], found.data.summary.sample.rows[:, 0].numpy())
    w, label = rows["w"], rows["y"] == "yes"
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    reference.fit(x[~held], label[~held], sample_weight=w[~held])
    difference = found.module.weight[1] - found.module.weight[0]
    assert difference.tolist() == pytest.approx(reference.coef_[0], rel=1e-5)
    p = reference.predict_proba(x[held])
    expected = metrics.log_loss(label[held], p, sample_weight=w[held])
    scores = plumbline.evaluate(found)
    assert scores["test_log_loss"] == pytest.approx(expected, rel=1e-6)
    assert scores["linear_test_log_loss"] == pytest.approx(expected, rel=1e-6)
    expected = metrics.roc_auc_score(label[held], p[:, 1], sample_weight=w[held])
    assert scores["test_roc_auc"] == pytest.approx(expected)
    share = np.average(label[~held], weights=w[~held])
    majority = metrics.log_loss(label[held], np.full(held.sum(), share), sample_weight=w[held])
    assert scores["majority_test_log_loss"] == pytest.approx(majority)


def test_a_net_and_the_gate_score_with_the_weights_of_held_out_rows(tmp_path: Path) -> None:
    """A line's R, and the rows read again, say the same."""
    found = trained(
        tmp_path / "a.csv", table(), {"optimizer": "exact"}, weight="w", test_fraction=0.3
    )
    scores = plumbline.evaluate(found)
    fitted = StoredModel("y", found.data.encoding, nn.Sequential(found.module))
    for name, value in score(fitted, found.data).items():
        assert value == pytest.approx(scores[name], rel=1e-12)


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("training", [{}, {"optimizer": "lbfgs", "epochs": 20}])
def test_balanced_classes_count_alike(tmp_path: Path, weight: str | None, training: dict) -> None:
    """In the fit and in every score, with the weights that training rows give."""
    rows = table(classes=True) | {"a": table()["a"] + 1}
    data = {"weight": weight, "class_weight": "balanced", "test_fraction": 0.3}
    found = trained(tmp_path / "a.csv", rows, training, exclude=[] if weight else ["w"], **data)
    held = np.isin(rows["a"], found.data.summary.sample.rows[:, 0].numpy())
    x, label = np.stack([rows["a"], rows["b"]], axis=1), rows["y"] == "yes"
    w = rows["w"] if weight else np.ones(N)
    of_class = np.array([w[~held & (label == each)].sum() for each in (False, True)])
    w = w / of_class[label.astype(int)]
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    p = reference.fit(x[~held], label[~held], sample_weight=w[~held] * N).predict_proba(x[held])
    scores, given = plumbline.evaluate(found), {"sample_weight": w[held]}
    expected = {
        "log_loss": metrics.log_loss(label[held], p, **given),
        "accuracy": metrics.accuracy_score(label[held], p[:, 1] > 0.5, **given),
        "f1": metrics.f1_score(label[held], p[:, 1] > 0.5, average="macro", **given),
    }
    for name, value in expected.items():
        assert scores[f"test_{name}"] == pytest.approx(value, rel=1e-4)
    assert scores["majority_test_log_loss"] == pytest.approx(np.log(2))
    assert scores["linear_test_log_loss"] == pytest.approx(expected["log_loss"], rel=1e-5)
    assert found.trained.losses[-1] == pytest.approx(scores["train_log_loss"], rel=1e-4)


WRONG = [
    (-1.0, "column 'w', row 3 must be a finite weight >= 0. Got -1.0 instead"),
    (None, "row 3 must be a finite weight >= 0. Got a missing value (empty or NaN) instead"),
    ("heavy", "must hold numbers. Got text instead."),
]


@BOTH
@pytest.mark.parametrize(("value", "told"), WRONG)
def test_a_weight_that_is_none_is_refused(tmp_path: Path, kind: str, value: Any, told: str) -> None:
    rows = {name: values.tolist()[:5] for name, values in table().items()}
    rows["w"] = [value] * 5 if isinstance(value, str) else [1.0, 0.0, value, 1.0, 2.0]
    assert told in refusal(write(tmp_path / f"a.{kind}", rows), weight="w")


def test_weights_that_are_all_0_leave_nothing_to_train_on(tmp_path: Path) -> None:
    rows = {"x": [1.0, 2.0], "y": [1.0, 2.0], "w": [0.0, 0.0]}
    told = refusal(write(tmp_path / "a.csv", rows), weight="w")
    assert "at least one row to train on. Got 0 rows, 2 dropped" in told
