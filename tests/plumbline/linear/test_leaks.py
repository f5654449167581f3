"""Features that determine the target exactly are found, and no others."""

import pytest
import torch

from plumbline.linear.leaks import leaks
from plumbline.linear.least_squares import least_squares
from tests.plumbline.tools import compressed, random_rows


def found(rows: torch.Tensor) -> tuple[str, ...]:
    factor = compressed(rows).train
    return leaks(factor, least_squares(factor))


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_a_feature_that_alone_determines_the_target_is_found(far: float) -> None:
    rows = random_rows(500, 4, far=far)
    rows[:, -1] = 3 * rows[:, 2] - 7
    assert found(rows) == ("x2",)


def test_features_that_determine_it_together_are_found() -> None:
    rows = random_rows(500, 5)
    rows[:, -1] = rows[:, 1] + rows[:, 3]
    assert found(rows) == ("x1", "x3")


def test_a_close_fit_is_no_leak() -> None:
    rows = random_rows(500, 4)
    rows[:, -1] = rows[:, 2] + 1e-5 * rows[:, -1]
    assert found(rows) == ()


def test_too_few_rows_a_constant_target_and_a_constant_feature_are_no_leak() -> None:
    assert found(random_rows(4, 5)) == ()
    rows = random_rows(50, 3)
    rows[:, 1] = 2.0
    assert found(rows) == ()
    rows[:, -1] = 5.0
    assert found(rows) == ()
