"""The logistic optimum: certified values, scikit-learn's, and what has no optimum."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from plumbline.linear.newton import LogisticFit, LogisticProblem, fit_by_lbfgs, logistic_fit
from plumbline.linear.problem import Standardizer
from tests.plumbline.tools import compressed

# Grades of 32 students (Spector and Mazzeo, Journal of Economic Education 11, 1980; Greene,
# Econometric Analysis, table 21.1): GPA, TUCE, PSI, GRADE.
SPECTOR = """
2.66 20 0 0  2.89 22 0 0  3.28 24 0 0  2.92 12 0 0  4.00 21 0 1  2.86 17 0 0  2.76 17 0 0
2.87 21 0 0  3.03 25 0 0  3.92 29 0 1  2.63 20 0 0  3.32 23 0 0  3.57 23 0 0  3.26 25 0 1
3.53 26 0 0  2.74 19 0 0  2.75 25 0 0  2.83 19 0 0  3.12 23 1 0  3.16 25 1 1  2.06 22 1 0
3.62 28 1 1  2.89 14 1 0  3.51 26 1 0  3.54 24 1 1  2.83 27 1 1  3.39 17 1 1  2.67 24 1 0
3.65 21 1 1  4.00 23 1 1  3.10 21 1 0  2.39 19 1 1
"""
NAMES = ("GPA", "TUCE", "PSI")


def spector() -> tuple[Tensor, Tensor]:
    rows = torch.tensor([float(word) for word in SPECTOR.split()], dtype=torch.float64)
    rows = rows.reshape(32, 4)
    return rows[:, :3], rows[:, 3].long()


def fitted(
    x: Tensor, y: Tensor, parts: int = 1, solve=logistic_fit, left_out: tuple[str, ...] = ()
) -> LogisticFit:
    """The fit of rows in so many parts; class names are their numbers."""
    count = int(y.max()) + 1
    ones = torch.ones(len(x), 1, dtype=torch.float64)
    rows = torch.cat([x, functional.one_hot(y, count).double(), ones], dim=1)
    shares = dict(enumerate(rows.tensor_split(parts)))
    names = tuple(f"x{i}" for i in range(x.shape[1]))
    factor = compressed(torch.cat([x, y[:, None].double()], dim=1)).train
    standardizer = Standardizer.of(factor, bias=True, standardize=True)
    classes = tuple(map(str, range(count)))
    gone, read = frozenset(left_out), lambda part: [shares[int(part)]]
    return solve(LogisticProblem(names, classes, standardizer, gone, read, [*map(str, shares)]))


def wine() -> tuple[Tensor, Tensor]:
    """Three cultivars by two measures that do not separate them."""
    x, y = load_wine(return_X_y=True)
    return torch.from_numpy(x[:, [0, 2, 4]]), torch.from_numpy(y)


def test_spector_and_mazzeos_logit_to_seven_digits() -> None:
    fit = fitted(*spector())
    values = [-13.0213465, 2.82611259, 0.0951576613, 2.37868766]
    errors = [4.93132421, 1.26294105, 0.141554203, 1.06456420]
    assert fit.problem == ""
    assert fit.parameters[0].tolist() == pytest.approx(values, rel=1e-7)
    assert fit.errors[0].tolist() == pytest.approx(errors, rel=1e-7)
    assert fit.loss == pytest.approx(12.8896335 / 32, rel=1e-7)


def test_three_classes_have_scikit_learns_probabilities() -> None:
    x, y = wine()
    fit = fitted(x, y)
    z = ((x - x.mean(dim=0)) / x.std(dim=0, correction=0)).numpy()
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cg")
    theirs.fit(z, y.numpy())
    logits = x @ fit.parameters[:, 1:].mT + fit.parameters[:, 0]
    ours = functional.pad(logits, (1, 0)).softmax(dim=1).numpy()
    assert np.allclose(ours, theirs.predict_proba(z), atol=1e-7)


@pytest.mark.parametrize("parts", [2, 7, 178])
def test_many_files_give_what_one_gives(parts: int) -> None:
    one, many = fitted(*wine()), fitted(*wine(), parts)
    assert torch.allclose(one.parameters, many.parameters, rtol=1e-9)
    assert torch.allclose(one.errors, many.errors, rtol=1e-9)


def test_lbfgs_comes_to_the_loss_of_newton_without_errors() -> None:
    newton, lbfgs = fitted(*wine()), fitted(*wine(), solve=fit_by_lbfgs)
    assert lbfgs.loss == pytest.approx(newton.loss, rel=1e-4)
    assert lbfgs.errors.isnan().all()


def test_separated_classes_are_named_with_a_feature() -> None:
    x = torch.arange(20, dtype=torch.float64)[:, None]
    fit = fitted(x, (x[:, 0] >= 10).long())
    assert "the features separate class '1' from the others (above all x0)" in fit.problem


def test_a_collinear_column_gets_no_weight_and_changes_nothing() -> None:
    x, y = spector()
    whole = fitted(torch.cat([x, x[:, :1] * 2 + 1], dim=1), y, left_out=("x3",))
    alone = fitted(x, y)
    assert whole.parameters[0, 4] == 0
    assert whole.errors[0, 4].isnan()
    assert torch.allclose(whole.parameters[:, :4], alone.parameters, rtol=1e-9)


def test_a_class_that_no_feature_tells_of_has_its_share() -> None:
    x = torch.tensor([[-1.0], [1.0]] * 10, dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1, 1, 1] + [0, 0] * 7)
    fit = fitted(x, y)
    assert fit.parameters[0].tolist() == pytest.approx([np.log(4 / 16), 0.0], abs=1e-9)
