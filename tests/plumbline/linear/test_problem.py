"""What the loop minimises has the mean squared error of the rows, in any standardizer."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from plumbline.linear.problem import Problem, Standardizer
from tests.plumbline.tools import compressed, random_rows

CONSTANT = random_rows(40, 3)
CONSTANT[:, 1] = 0.1
CASES = {
    "tall": random_rows(200, 3, far=5.0),
    "far from zero": random_rows(200, 2, far=1e5),
    "fewer rows than columns": random_rows(3, 6),
    "one row": random_rows(1, 2),
    "constant column": CONSTANT,
}
each_case = pytest.mark.parametrize("rows", CASES.values(), ids=CASES.keys())
each_bias = pytest.mark.parametrize("bias", [True, False])
each_scaling = pytest.mark.parametrize("standardize", [True, False])


def set_up(rows: Tensor, bias: bool, standardize: bool) -> tuple[Problem, Standardizer]:
    factor = compressed(rows).train
    standardizer = Standardizer.of(factor, bias, standardize)
    return Problem.of(factor, standardizer, bias), standardizer


def design(rows: Tensor, standardizer: Standardizer, bias: bool) -> Tensor:
    """The rows as training sees them, with a column of ones where there is an intercept."""
    z = (rows[:, :-1] - standardizer.mean) / standardizer.scale
    return torch.cat([torch.ones(len(rows), 1).double(), z], dim=1) if bias else z


@each_case
@each_bias
@each_scaling
def test_the_loss_is_the_mse_of_the_rows_for_any_weights(rows, bias, standardize):
    problem, standardizer = set_up(rows, bias, standardize)
    x = design(rows, standardizer, bias)
    for seed in range(5):
        random = torch.Generator().manual_seed(seed)
        theta = torch.randn(x.shape[1], generator=random, dtype=torch.float64)
        expected = float(functional.mse_loss(x @ theta, rows[:, -1]))
        found = float((problem.matrix @ theta - problem.target).square().sum()) / problem.rows
        assert found == pytest.approx(expected, rel=1e-9)


@each_bias
@each_scaling
def test_the_gradient_is_that_of_the_rows(bias, standardize):
    rows = random_rows(100, 3, far=2.0)
    problem, standardizer = set_up(rows, bias, standardize)
    x = design(rows, standardizer, bias)
    theta = torch.linspace(-1, 1, x.shape[1], dtype=torch.float64, requires_grad=True)
    functional.mse_loss(x @ theta, rows[:, -1]).backward()
    residual = problem.matrix @ theta.detach() - problem.target
    found = 2 / problem.rows * problem.matrix.mT @ residual
    assert torch.allclose(found, theta.grad, rtol=1e-9)


def test_standardised_features_have_mean_0_and_deviation_1():
    rows = random_rows(80, 3, far=1e4)
    _, standardizer = set_up(rows, True, True)
    z = (rows[:, :-1] - standardizer.mean) / standardizer.scale
    assert torch.allclose(z.mean(dim=0), torch.zeros(3).double(), atol=1e-9)
    assert torch.allclose(z.square().mean(dim=0), torch.ones(3).double(), rtol=1e-9)


def test_without_an_intercept_features_are_scaled_and_not_centred():
    rows = random_rows(80, 2, far=3.0)
    _, standardizer = set_up(rows, False, True)
    assert not standardizer.mean.any()
    assert torch.allclose(standardizer.scale, rows[:, :-1].square().mean(dim=0).sqrt(), rtol=1e-12)


def test_a_constant_feature_keeps_its_scale():
    _, standardizer = set_up(CONSTANT, True, True)
    assert float(standardizer.scale[1]) == 1.0
    assert float(standardizer.mean[1]) == pytest.approx(0.1, rel=1e-15)


@each_bias
@each_scaling
def test_raw_units_predict_what_training_units_predict(bias, standardize):
    rows = random_rows(30, 3, far=10.0)
    _, standardizer = set_up(rows, bias, standardize)
    weights = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    first = torch.tensor([1.5 if bias else 0.0], dtype=torch.float64)
    intercept, raw = standardizer.raw(first, weights)
    expected = first + (rows[:, :-1] - standardizer.mean) / standardizer.scale @ weights
    assert torch.allclose(intercept + rows[:, :-1] @ raw, expected, rtol=1e-12)


def test_from_raw_units_and_back_is_where_it_began():
    _, standardizer = set_up(random_rows(30, 2, far=10.0), True, True)
    weights = torch.tensor([0.5, -2.0], dtype=torch.float64)
    theta = standardizer.trained(4.0, weights)
    intercept, raw = standardizer.raw(theta[:1], theta[1:])
    assert intercept == pytest.approx(4.0, rel=1e-12)
    assert torch.allclose(raw, weights, rtol=1e-14)


@each_bias
@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_the_curvature_is_that_of_the_hessian_of_the_rows(bias, decay):
    rows = random_rows(60, 3, far=1.0)
    problem, standardizer = set_up(rows, bias, False)
    x = design(rows, standardizer, bias)
    weights_only = torch.ones(x.shape[1], dtype=torch.float64)
    weights_only[0] = 0.0 if bias else 1.0
    hessian = 2 / 60 * x.mT @ x + decay * weights_only.diag()
    assert torch.allclose(
        problem.curvature(4 if bias else 3, decay), torch.linalg.eigvalsh(hessian), rtol=1e-9
    )


def test_standardised_uncorrelated_features_have_curvature_2_everywhere():
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()
    rows = torch.cat([signs * 5 + 100, signs[:, :1]], dim=1)
    problem, _ = set_up(rows, True, True)
    assert torch.allclose(problem.curvature(4), torch.full((4,), 2.0).double(), rtol=1e-12)
