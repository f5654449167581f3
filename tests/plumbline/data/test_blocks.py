"""Blocks on their way to a device."""

import torch

from plumbline.data.blocks import Block, on_device


def test_on_the_cpu_blocks_are_handed_through():
    block = Block(("y",), torch.ones(2, 5), "a", 0)
    assert list(on_device(iter([block]), "cpu")) == [block]
