"""The buffer of blocks: it grows with the rows, and the blocks do not depend on how."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from plumbline.config.schema import Split
from plumbline.data.batches import BLOCK_ROWS
from plumbline.data.buffer import Buffer
from plumbline.linear.compress import compress
from tests.plumbline.tools import opened


def arrow_file(path: Path, table: pa.Table, batch: int) -> Path:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, batch)
    return path


@pytest.mark.parametrize("rows", [20, 900, BLOCK_ROWS, BLOCK_ROWS + 5_000])
def test_the_pass_gives_the_same_bits_whatever_the_batches(rows, tmp_path):
    random, found = np.random.default_rng(rows), []
    x, c = random.normal(size=(2, rows)), random.integers(0, 99, rows)
    table = pa.table({"x": x[0], "z": x[1], "c": c, "y": x.sum(axis=0)})
    for size in (7 if rows < 1_000 else 4_097, 50_000, rows):
        path = arrow_file(tmp_path / "a.arrow", table, size)
        source = opened(path, features=["x", "z"], split={"by": "group", "column": "c"})
        found.append(compress(source, source.parts[0], Split(test_fraction=0.2)))
    for each in found[1:]:
        for share in ("train", "test"):
            assert torch.equal(each.factors[share].r, found[0].factors[share].r)
            assert torch.equal(each.samples[share].rows, found[0].samples[share].rows)


def test_a_small_wide_table_takes_little_memory(tmp_path):
    wide = pa.table({f"x{i}": np.arange(50.0) + i for i in range(500)})
    table = opened(arrow_file(tmp_path / "a.arrow", wide, 20), target="x0")
    buffer = Buffer(table.columns, table.files[0])
    for batch in wide.to_batches(20):
        assert list(buffer.fill(batch)) == []
    assert buffer.array.shape[1] < 100
    (block,) = buffer.rest()
    assert np.array_equal(block.rows[1], wide["x1"])
