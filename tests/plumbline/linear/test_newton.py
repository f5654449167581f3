"""The most likely parameters: published values, scikit-learn's, and what has no optimum."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from torch import Tensor
from torch.nn import functional

from plumbline.linear import families
from plumbline.linear.newton import (
    LikelihoodFit,
    LikelihoodProblem,
    fit_by_lbfgs,
    maximize_likelihood,
)
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
# Counts of a trial, three outcomes by three treatments (Dobson, An Introduction to Generalized
# Linear Models, 1990, p. 93; the example of R's glm).
DOBSON = [18, 17, 15, 20, 10, 20, 25, 13, 12]


def spector() -> tuple[Tensor, Tensor]:
    rows = torch.tensor([float(word) for word in SPECTOR.split()], dtype=torch.float64)
    rows = rows.reshape(32, 4)
    return rows[:, :3], rows[:, 3].long()


def fitted(x: Tensor, y: Tensor, *given, **more) -> LikelihoodFit:
    """The logistic fit; class names are their numbers."""
    count = int(y.max()) + 1
    family = families.logistic(tuple(map(str, range(count))))
    return most_likely(family, x, functional.one_hot(y, count).double(), *given, **more)


def poisson(x: Tensor, y: Tensor, *given, **more) -> LikelihoodFit:
    """The fit of counts."""
    return most_likely(families.poisson(float(y.mean())), x, y[:, None], *given, **more)


def most_likely(
    family: families.Family,
    x: Tensor,
    observed: Tensor,
    parts: int = 1,
    solve=maximize_likelihood,
    left_out: tuple[str, ...] = (),
    keep: bool = False,
    on_read=lambda part: None,
) -> LikelihoodFit:
    """The fit of rows in so many parts."""
    ones = torch.ones(len(x), 1, dtype=torch.float64)
    rows = torch.cat([x, observed, ones], dim=1)
    shares = dict(enumerate(rows.tensor_split(parts)))
    names = tuple(f"x{i}" for i in range(x.shape[1]))
    standardizer = Standardizer.of(
        compressed(torch.cat([x, observed[:, -1:]], dim=1)).train, True, True
    )

    def read(part: str) -> list[Tensor]:
        on_read(part)
        return [shares[int(part)]]

    gone, parts = frozenset(left_out), [*map(str, shares)]
    problem = LikelihoodProblem(names, family, standardizer, gone, read, parts, keep=keep)
    return solve(problem, lambda step, loss: None)


def wine() -> tuple[Tensor, Tensor]:
    """Three cultivars by two measures that do not separate them."""
    x, y = load_wine(return_X_y=True)
    return torch.from_numpy(x[:, [0, 2, 4]]), torch.from_numpy(y)


def counts() -> tuple[Tensor, Tensor]:
    """Counts that depend on one of two measures."""
    random = np.random.default_rng(5)
    x = random.normal(size=(178, 2))
    return torch.from_numpy(x), torch.from_numpy(random.poisson(np.exp(1 + x[:, 0])).astype(float))


def test_spector_and_mazzeos_logit_to_seven_digits() -> None:
    fit = fitted(*spector())
    values = [-13.0213465, 2.82611259, 0.0951576613, 2.37868766]
    errors = [4.93132421, 1.26294105, 0.141554203, 1.06456420]
    assert fit.problem == ""
    assert fit.parameters[0].tolist() == pytest.approx(values, rel=1e-7)
    assert fit.errors[0].tolist() == pytest.approx(errors, rel=1e-7)
    assert fit.losses[-1] == pytest.approx(12.8896335 / 32, rel=1e-7)


def test_kept_rows_are_read_once_and_give_the_same_fit() -> None:
    read: list[str] = []
    kept = fitted(*spector(), parts=3, keep=True, on_read=read.append)
    assert sorted(read) == ["0", "1", "2"]
    again = fitted(*spector(), parts=3, on_read=read.append)
    assert len(read) > 3 * len(again.losses)
    assert torch.equal(kept.parameters, again.parameters)
    assert torch.equal(kept.errors, again.errors)


def test_three_classes_have_scikit_learns_probabilities() -> None:
    x, y = wine()
    fit = fitted(x, y)
    z = ((x - x.mean(dim=0)) / x.std(dim=0, correction=0)).numpy()
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cg")
    theirs.fit(z, y.numpy())
    logits = x @ fit.parameters[:, 1:].mT + fit.parameters[:, 0]
    ours = functional.pad(logits, (1, 0)).softmax(dim=1).numpy()
    assert np.allclose(ours, theirs.predict_proba(z), atol=1e-7)


def test_dobsons_counts_have_the_published_coefficients_and_errors() -> None:
    outcome, treatment = torch.arange(9) % 3, torch.arange(9) // 3
    x = torch.cat([functional.one_hot(each)[:, 1:] for each in (outcome, treatment)], dim=1)
    fit = poisson(x.double(), torch.tensor(DOBSON).double())
    assert fit.problem == ""
    assert fit.parameters[0].tolist() == pytest.approx(
        [3.044522, -0.454255, -0.292987, 0, 0], abs=1e-6
    )
    assert fit.errors[0].tolist() == pytest.approx([0.1709, 0.2022, 0.1927, 0.2, 0.2], abs=5e-5)


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_counts_have_scikit_learns_coefficients(far: float) -> None:
    x, y = counts()
    theirs = PoissonRegressor(alpha=0, tol=1e-12, solver="newton-cholesky").fit(x, y)
    fit = poisson(x + far, y)
    assert fit.parameters[0, 1:].tolist() == pytest.approx(theirs.coef_, rel=1e-9)
    assert fit.parameters[0, 0] + far * fit.parameters[0, 1:].sum() == pytest.approx(
        theirs.intercept_, rel=1e-9
    )


@pytest.mark.parametrize("parts", [2, 7, 178])
@pytest.mark.parametrize(("solve", "rows"), [(fitted, wine()), (poisson, counts())])
def test_many_files_give_what_one_gives(solve, rows: tuple[Tensor, Tensor], parts: int) -> None:
    one, many = solve(*rows), solve(*rows, parts)
    assert torch.allclose(one.parameters, many.parameters, rtol=1e-9)
    assert torch.allclose(one.errors, many.errors, rtol=1e-9)


@pytest.mark.parametrize(("solve", "rows"), [(fitted, wine()), (poisson, counts())])
def test_lbfgs_comes_to_the_loss_of_newton_without_errors(
    solve, rows: tuple[Tensor, Tensor]
) -> None:
    newton, lbfgs = solve(*rows), solve(*rows, solve=fit_by_lbfgs)
    assert lbfgs.losses[-1] == pytest.approx(newton.losses[-1], rel=1e-4)
    assert lbfgs.errors.isnan().all()


@pytest.mark.parametrize(("classes", "features", "exact"), [(10, 30, True), (40, 5, False)])
def test_the_hessian_of_many_classes_is_not_formed(
    classes: int, features: int, exact: bool
) -> None:
    """A row has unknowns² products for each class: with 64 classes they took minutes."""
    x = torch.randn(400, features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    fit = fitted(x, torch.arange(len(x)) % classes)
    assert bool(fit.errors.isfinite().all()) is exact


@pytest.mark.parametrize("solve", [maximize_likelihood, fit_by_lbfgs])
def test_separated_classes_are_named_with_a_feature(solve) -> None:
    x = torch.arange(20, dtype=torch.float64)[:, None]
    fit = fitted(x, (x[:, 0] >= 10).long(), solve=solve)
    assert "separate class '1' from the others in some or all rows (above all x0)" in fit.problem


def test_steps_do_not_get_stuck_at_rows_that_are_far_on_the_wrong_side() -> None:
    """The columns determine the class, so the loss has the limit 0."""
    random, shares = torch.Generator().manual_seed(1), 0.5 ** torch.arange(7)
    y = torch.multinomial(shares, 200, True, generator=random)
    others = torch.multinomial(shares[:4], 400, True, generator=random).reshape(200, 2)
    level = functional.one_hot(torch.randint(0, 25, (200,), generator=random))[:, 1:]
    x = torch.cat([(y + others.sum(1))[:, None], others, level], dim=1).double()
    fit = fitted(x, y)
    assert "separate class" in fit.problem
    assert fit.losses[-1] < 1e-6


def test_a_level_that_has_one_class_only_is_named() -> None:
    """The other rows keep the loss above 0, and it falls by less with every step."""
    x, y = spector()
    level = (torch.arange(len(x)) % 5 == 0).double()[:, None]
    fit = fitted(torch.cat([x, level], dim=1), y.where(level[:, 0] == 0, 0))
    assert "separate class '1' from the others in some or all rows (above all x3)" in fit.problem


def test_a_level_and_a_column_whose_rows_all_have_0_are_named() -> None:
    x, y = counts()
    level = (torch.arange(len(x)) % 9 == 0).double()
    told = "separate rows whose target is 0 from the others (above all x2), so weights grow"
    for more in (level, level * x[:, 0].abs()):
        fit = poisson(torch.cat([x, more[:, None]], dim=1), y.where(level == 0, 0))
        assert told in fit.problem


def test_one_count_far_above_the_others_is_reached_by_halved_steps() -> None:
    x, y = counts()
    y[7] = 1e6
    theirs = PoissonRegressor(alpha=0, tol=1e-12, max_iter=1000, solver="newton-cholesky").fit(x, y)
    assert poisson(x, y).parameters[0, 1:].tolist() == pytest.approx(theirs.coef_, rel=1e-8)


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
