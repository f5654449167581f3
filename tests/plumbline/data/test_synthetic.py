"""Generated rows follow the model that they are asked for."""

import pytest
import torch

from plumbline.config.schema import SyntheticData
from plumbline.data.batches import BLOCK_ROWS, block_rows
from plumbline.data.sources import Synthetic
from plumbline.linear.compress import compress
from plumbline.linear.least_squares import least_squares
from plumbline.linear.summary import combine


def synthetic(**keys: object) -> Synthetic:
    return Synthetic(SyntheticData(kind="synthetic", **keys))


def rows_of(source: Synthetic) -> torch.Tensor:
    return torch.cat([block.rows[1:].mT for block in source.blocks("synthetic")])


def test_given_inputs_stand_as_they_are():
    assert rows_of(synthetic(x=[1.0, 2.0], weights=[2.0], bias=1.0)).tolist() == [[1, 3], [2, 5]]
    wide = synthetic(x=[[1.0, 2.0], [3.0, 4.0]], weights=[1.0, 10.0])
    assert rows_of(wide).tolist() == [[1, 2, 21], [3, 4, 43]]
    assert (synthetic(x=[1.0]).names, wide.names) == (("x", "y"), ("x1", "x2", "y"))


@pytest.mark.parametrize("n", [1, BLOCK_ROWS, BLOCK_ROWS + 1])
def test_as_many_rows_are_drawn_as_asked_for(n):
    assert len(rows_of(synthetic(rows=n))) == n


def test_the_rows_are_the_same_whenever_they_are_asked_for():
    keys = {"rows": BLOCK_ROWS + 1_000, "features": 2, "noise": 0.5}
    assert torch.equal(rows_of(synthetic(**keys)), rows_of(synthetic(**keys)))
    assert not torch.equal(rows_of(synthetic(**keys)), rows_of(synthetic(**keys, seed=1)))


def test_inputs_are_uniform_in_their_range_and_noise_is_normal():
    source = synthetic(rows=50_000, x_range=[2.0, 6.0], weights=[3.0], bias=-1.0, noise=0.5)
    x, y = rows_of(source).unbind(dim=1)
    assert float(x.min()) >= 2.0
    assert float(x.max()) < 6.0
    assert float(x.mean()) == pytest.approx(4.0, abs=5 * 4 / 12**0.5 / 50_000**0.5)
    noise = y - 3 * x + 1
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02)
    assert float(torch.corrcoef(torch.stack([x, noise]))[0, 1]) == pytest.approx(0, abs=0.025)
    inside = float((noise.abs() < 0.5).double().mean())
    assert inside == pytest.approx(0.6827, abs=0.012)


def test_without_noise_the_exact_fit_finds_the_true_model():
    source = synthetic(rows=40_000, features=5, bias=0.7)
    fit = least_squares(combine([compress(source, "synthetic", source.data)]).train)
    assert torch.allclose(fit.weights, source.weights, rtol=1e-11)
    assert fit.intercept == pytest.approx(0.7, rel=1e-11)
    assert fit.rss == pytest.approx(0.0, abs=1e-20)


def test_a_block_has_at_least_32_rows_a_column():
    assert block_rows(3) == BLOCK_ROWS
    assert block_rows(2_000) == BLOCK_ROWS >= 32 * 2_000
