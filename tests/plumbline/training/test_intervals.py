"""Intervals: their coverage of fresh rows over many seeds, and statsmodels' formula by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plumbline.config.schema import Training
from plumbline.errors import InputError
from plumbline.linear.sample import Sample
from plumbline.training.plan import make_plan
from plumbline.training.prediction import (
    check_interval,
    conformal_half_width,
    gaussian_interval,
)
from tests.plumbline.tools import compressed, random_rows

EXACT = Training(optimizer="exact")


def sample(rows: Tensor) -> Sample:
    names = (*(f"x{i}" for i in range(rows.shape[1] - 1)), "y")
    ones = torch.ones(len(rows), dtype=torch.float64)
    return Sample(names, torch.linspace(0, 1, len(rows), dtype=torch.float64), rows, ones)


def test_rows_count_by_their_weights() -> None:
    """The width is the least residual within which the wanted share of the weights lies."""
    torch.manual_seed(0)
    rows, model = random_rows(50, 2), torch.nn.Linear(2, 1, dtype=torch.float64)
    weights = torch.arange(50).double() % 3 + 1
    with torch.no_grad():
        residuals = (rows[:, -1] - model(rows[:, :-1])[:, 0]).abs()
    for level in (0.3, 0.5, 0.8):
        width = conformal_half_width(model, replace(sample(rows), weights=weights), level)
        within, below = (weights[some].sum() for some in (residuals <= width, residuals < width))
        assert below < level * 51 / 50 * weights.sum() <= within


@pytest.mark.parametrize(("level", "held_out"), [(0.5, 9), (0.8, 30), (0.9, 9), (0.9, 100)])
def test_share_of_fresh_rows_in_the_interval_is_the_level(level: float, held_out: int) -> None:
    """Split conformal's coverage is ⌈(n + 1)·level⌉ / (n + 1) on average over held-out rows, here
    of errors that are not normal, about a model that is wrong."""
    random = torch.Generator().manual_seed(1)
    model = torch.nn.Linear(1, 1, dtype=torch.float64)
    covered = []
    for _ in range(2_000):
        x = torch.rand(held_out + 50, 1, generator=random, dtype=torch.float64)
        noise = torch.rand(held_out + 50, 1, generator=random, dtype=torch.float64).log()
        rows = torch.cat([x, x**2 + noise], dim=1)
        width = conformal_half_width(model, sample(rows[:held_out]), level)
        with torch.no_grad():
            error = rows[held_out:, -1] - model(rows[held_out:, :-1])[:, 0]
        covered.append(float((error.abs() <= width).double().mean()))
    expected = math.ceil((held_out + 1) * level - 1e-9) / (held_out + 1)
    found = torch.tensor(covered, dtype=torch.float64)
    assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / 2_000**0.5)
    assert level <= expected < level + 1 / held_out


def test_gaussian_interval_is_that_of_the_normal_theory() -> None:
    """Against the formula with the inverse of XᵀX, on columns of which one is collinear."""
    from scipy import stats

    rows = random_rows(40, 3, far=10.0)
    with_copy = torch.cat([rows[:, :3], 2 * rows[:, :1] + 1, rows[:, 3:]], dim=1)
    plan = make_plan(compressed(with_copy).select(["x0", "x1", "x2", "x3", "y"]), EXACT)
    new = torch.tensor([9.0, 11.0, 10.5, 19.0], dtype=torch.float64)
    low, high = gaussian_interval(plan, new, 0.95)
    x = torch.cat([torch.ones(40, 1, dtype=torch.float64), rows[:, :3]], dim=1)
    inverse = torch.linalg.inv(x.mT @ x)
    theta = inverse @ x.mT @ rows[:, 3]
    s = float((rows[:, 3] - x @ theta).square().sum() / 36) ** 0.5
    row = torch.cat([torch.ones(1, dtype=torch.float64), new[:3]])
    width = stats.t.ppf(0.975, 36) * s * math.sqrt(1 + float(row @ inverse @ row))
    assert high - low == pytest.approx(2 * width, rel=1e-8)
    assert (high + low) / 2 == pytest.approx(float(row @ theta), rel=1e-9)


def test_no_gaussian_interval_without_degrees_of_freedom() -> None:
    plan = make_plan(compressed(random_rows(3, 2)), EXACT)
    assert gaussian_interval(plan, torch.zeros(2, dtype=torch.float64), 0.9) is None


def test_too_few_held_out_rows_are_refused() -> None:
    rows = random_rows(60, 2)
    with pytest.raises(InputError, match=r"0.9 needs at least 9 held-out rows. Got 8"):
        check_interval(0.9, sample(rows[:8]))
    check_interval(0.9, sample(rows[:9]))
    check_interval(None, sample(rows[:0]))
