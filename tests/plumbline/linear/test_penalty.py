"""Ridge, lasso and elastic net against scikit-learn on the rows, and the folds by hand."""

import math

import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge
from torch import Tensor

from plumbline.config.schema import Split
from plumbline.config.training import Penalty
from plumbline.data.split import block_hashes
from plumbline.linear.penalty import Penalized, fit_with_penalty
from plumbline.linear.problem import Standardizer
from tests.plumbline.tools import Rows, compressed, random_rows


def fitted(
    rows: Tensor, bias: bool = True, split: Split | None = None, **keys: object
) -> Penalized:
    data = compressed(rows, split)
    standardizer = Standardizer.of(data.train, bias, True)
    return fit_with_penalty(data, Penalty(**keys), bias, standardizer)


def diabetes() -> Tensor:
    """442 patients, 10 features of which six measurements of serum are nearly collinear."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    return torch.cat([torch.from_numpy(x), torch.from_numpy(y)[:, None]], dim=1)


def by_scikit_learn(rows: Tensor, penalty: Penalty, strength: float, bias: bool) -> Tensor:
    """The weights of standardised features: (d,)."""
    x, y, n = rows[:, :-1], rows[:, -1], len(rows)
    x = x - x.mean(dim=0) if bias else x
    x = x / (x.square().mean(dim=0) ** 0.5)
    exact = {"fit_intercept": bias, "tol": 1e-15, "max_iter": 1_000_000}
    models = {
        "ridge": Ridge(alpha=n * strength, fit_intercept=bias, solver="svd"),
        "lasso": Lasso(alpha=strength, **exact),
        "elastic_net": ElasticNet(alpha=strength, l1_ratio=penalty.share_of_sizes, **exact),
    }
    return torch.from_numpy(models[penalty.kind].fit(x.numpy(), y.numpy()).coef_)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["ridge", "lasso", "elastic_net"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_path_is_that_of_scikit_learn_on_the_rows(kind: str, bias: bool) -> None:
    rows, penalty = diabetes(), Penalty(kind=kind, strength=0.37)
    path = fitted(rows, bias, kind=kind, strength=0.37).path
    assert path.strength == 0.37
    assert len(path.strengths) == 101
    assert bool((path.strengths.diff() < 0).all())
    for place in (0, 20, 45, 70, 90, path.chosen):
        expected = by_scikit_learn(rows, penalty, float(path.strengths[place]), bias)
        torch.testing.assert_close(path.weights[place], expected, rtol=1e-8, atol=1e-8)


def test_fit_in_raw_units_is_that_of_the_chosen_strength() -> None:
    rows = random_rows(60, 4, far=1e3)
    found = fitted(rows, kind="lasso", strength=0.05)
    x, y = rows[:, :-1], rows[:, -1]
    expected = Lasso(alpha=0.05, tol=1e-14).fit(((x - x.mean(0)) / x.std(0, correction=0)), y)
    predicted = found.intercept + x @ found.weights
    direct = torch.from_numpy(expected.predict((x - x.mean(0)) / x.std(0, correction=0)))
    torch.testing.assert_close(predicted, direct, rtol=1e-9, atol=0)
    assert found.mse == pytest.approx(float((y - direct).square().mean()), rel=1e-9)


@pytest.mark.parametrize("kind", ["ridge", "lasso"])
def test_strength_is_the_one_of_least_error_over_the_folds(kind: str) -> None:
    """The folds' rows are picked by hand, and each fit is scikit-learn's on the rows."""
    rows, split = diabetes(), Split(folds=5)
    found = fitted(rows, split=split, kind=kind)
    path = found.path
    source = Rows({"rows": rows})
    hashes = [block_hashes(split.seed, block, "fold") for block in source.blocks("rows")]
    fold_of = (torch.cat(hashes) * 5).floor()
    mean, scale = rows[:, :-1].mean(0), rows[:, :-1].std(0, correction=0)
    for place in (30, path.chosen):
        strength = float(path.strengths[place])
        for number in range(5):
            others, held = rows[fold_of != number], rows[fold_of == number]
            model = (
                Ridge(alpha=len(others) * strength, solver="svd")
                if kind == "ridge"
                else Lasso(alpha=strength, tol=1e-12, max_iter=100_000)
            )
            model.fit((others[:, :-1] - mean) / scale, others[:, -1])
            error = held[:, -1] - torch.from_numpy(model.predict((held[:, :-1] - mean) / scale))
            assert float(path.errors[place, number]) == pytest.approx(
                float(error.square().mean().sqrt()), rel=1e-8
            )
    assert path.chosen == int(path.errors.mean(dim=1).argmin())
    simpler = fitted(rows, split=split, kind=kind, rule="one_standard_error").path
    bound = path.mean_errors[path.chosen] + path.standard_errors[path.chosen]
    assert simpler.strength > path.strength
    assert float(simpler.mean_errors[simpler.chosen]) <= float(bound)
    assert float(simpler.mean_errors[simpler.chosen - 1]) > float(bound)


def test_weak_penalty_is_least_squares_and_strong_one_the_mean() -> None:
    rows = random_rows(200, 3)
    x, y = rows[:, :-1].numpy(), rows[:, -1].numpy()
    weak, strong = (fitted(rows, kind="lasso", strength=s) for s in (1e-12, 1e6))
    torch.testing.assert_close(
        weak.weights, torch.from_numpy(LinearRegression().fit(x, y).coef_), rtol=1e-9, atol=0
    )
    assert not strong.weights.any()
    assert strong.intercept == pytest.approx(y.mean())


@pytest.mark.parametrize("kind", ["ridge", "lasso", "elastic_net"])
def test_more_features_than_rows_collinear_and_constant_ones(kind: str) -> None:
    """Whatever the data, the path is finite and its minimum one: no gradient beside the penalty."""
    rows = random_rows(20, 30)
    rows[:, 1], rows[:, 2] = rows[:, 0] * 2 + 1, 5.0
    found = fitted(rows, kind=kind, strength=0.1)
    share, w = Penalty(kind=kind).share_of_sizes, found.path.weights[found.path.chosen]
    x = rows[:, :-1] - rows[:, :-1].mean(dim=0)
    scale = x.square().mean(dim=0).sqrt()
    x = x / scale.where(scale > 1e-12, 1.0)
    residual = rows[:, -1] - rows[:, -1].mean() - x @ w
    gradient = x.mT @ residual / 20 - 0.1 * (1 - share) * w
    assert found.path.weights.isfinite().all()
    assert float(w[2].abs()) < 1e-9
    assert bool((gradient.abs() <= 0.1 * share + 1e-6).all())
    nonzero = w.abs() > 1e-9
    torch.testing.assert_close(
        gradient[nonzero], 0.1 * share * w[nonzero].sign(), rtol=0, atol=1e-6
    )


def test_target_that_no_feature_explains() -> None:
    rows = random_rows(30, 2)
    rows[:, -1] = 4.0
    for kind in ("ridge", "lasso"):
        found = fitted(rows, split=Split(folds=3), kind=kind)
        assert found.intercept == pytest.approx(4.0)
        assert math.isfinite(found.path.strength)
        assert float(found.weights.abs().max()) < 1e-12


@pytest.mark.parametrize("kind", ["ridge", "lasso"])
def test_features_that_are_all_constant(kind: str) -> None:
    rows = random_rows(30, 2)
    rows[:, :-1] = 4.0
    found = fitted(rows, split=Split(folds=3), kind=kind)
    assert found.intercept == pytest.approx(float(rows[:, -1].mean()))
    assert not found.weights.any()


def test_the_path_of_few_rows_ends_earlier_and_is_that_of_scikit_learn() -> None:
    rows = random_rows(20, 40)
    path = fitted(rows, split=Split(folds=4), kind="lasso").path
    assert float(path.strengths[-1] / path.strengths[0]) == pytest.approx(0.01)
    x = rows[:, :-1] - rows[:, :-1].mean(dim=0)
    x, y = (x / x.square().mean(dim=0).sqrt()).numpy(), (rows[:, -1] - rows[:, -1].mean()).numpy()
    theirs = Lasso(alpha=float(path.strengths[50]), tol=1e-13, max_iter=100_000).fit(x, y)
    torch.testing.assert_close(path.weights[50], torch.from_numpy(theirs.coef_), rtol=0, atol=1e-7)


def test_weighted_rows_are_as_many_rows() -> None:
    data, twice = compressed(random_rows(50, 3)), compressed(random_rows(50, 3).repeat(2, 1))
    penalty = Penalty(kind="elastic_net", strength=0.2, l1_ratio=0.3)
    standardizer = Standardizer.of(data.train, True, True)
    once, both = (
        fit_with_penalty(each, penalty, True, standardizer) for each in (data.weighted(2.0), twice)
    )
    torch.testing.assert_close(once.weights, both.weights, rtol=1e-9, atol=0)
