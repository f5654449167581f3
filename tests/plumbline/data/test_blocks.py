"""Blocks read one ahead: the same blocks, in order, and errors where they belong."""

from collections.abc import Iterator

import pytest
import torch

from plumbline.data.blocks import Block, on_device, one_ahead
from plumbline.errors import InputError


def blocks_of_one_buffer(count: int) -> Iterator[Block]:
    """Blocks as sources yield them: each overwrites the last one's rows."""
    buffer = torch.empty(2, 5)
    for number in range(count):
        buffer.fill_(number)
        yield Block(("y",), buffer, 5 * number)


def test_a_block_keeps_its_rows_while_the_next_is_fetched():
    seen = [(b.first_row, b.rows) for b in one_ahead(blocks_of_one_buffer(4), torch.clone)]
    assert [first for first, _ in seen] == [0, 5, 10, 15]
    assert [rows.unique().item() for _, rows in seen] == [0, 1, 2, 3]


def test_a_readers_error_reaches_the_consumer_after_the_blocks_before_it():
    def broken() -> Iterator[Block]:
        yield from blocks_of_one_buffer(2)
        raise InputError("row 11")

    coming = one_ahead(broken(), torch.clone)
    assert [next(coming).first_row, next(coming).first_row] == [0, 5]
    with pytest.raises(InputError, match="row 11"):
        next(coming)


def test_on_the_cpu_blocks_are_handed_through():
    block = next(blocks_of_one_buffer(1))
    assert list(on_device(iter([block]), "cpu")) == [block]
