"""Columns of a matrix by name."""

from collections.abc import Sequence

import torch
from torch import Tensor


def take_columns(rows: Tensor, have: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """The wanted columns of rows (m, len(have)) in their order, as a copy (m, len(wanted)).

    A column that is not there counts as all zeros: a level that none of the rows has.
    """
    place = {name: i for i, name in enumerate(have)}
    taken = torch.zeros(len(rows), len(wanted), dtype=rows.dtype)
    for i, name in enumerate(wanted):
        if name in place:
            taken[:, i] = rows[:, place[name]]
    return taken
