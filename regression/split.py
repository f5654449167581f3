"""Which row is held out: a draw from (seed, file name, row number), never of the run's order."""

import hashlib
from pathlib import PurePosixPath

import torch
from numpy.random import PCG64, Generator
from torch import Tensor

from regression.config import Split
from regression.rows import Block


def row_draws(seed: int, name: str, first_row: int, rows: int, use: str) -> Tensor:
    """Uniform numbers in [0, 1), one a row: (rows,) float64.

    PCG64 (O'Neill 2014), seeded by a SHA-256 of all but the row, and advanced to the first row.

    Args:
        seed: the configuration's data.seed.
        name: the file's name, without its folder, so that moving a folder moves no row.
        first_row: the number of the first row, from 0.
        rows: how many.
        use: what the numbers decide ("test", "fold", "sample"); uses are independent.
    """
    key = hashlib.sha256(f"{seed}\0{name}\0{use}".encode()).digest()
    bits = PCG64(int.from_bytes(key, "little")).advance(first_row)
    return torch.from_numpy(Generator(bits).random(rows))


def block_draws(seed: int, part: str, block: Block, use: str) -> Tensor:
    """row_draws of the rows that a block of a part kept: (k,) float64."""
    draws = row_draws(seed, PurePosixPath(part).name, block.first_row, block.span, use)
    return draws if block.kept is None else draws[block.kept]


def held_out(split: Split, part: str, block: Block) -> Tensor | None:
    """Which rows of a block are held out for testing: (k,) bool; None if none ever is."""
    if not split.test_fraction:
        return None
    return block_draws(split.seed, part, block, "test") < split.test_fraction
