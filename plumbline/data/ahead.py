"""Blocks on their way to an accelerator: the next is copied while the last is worked on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from plumbline.data.blocks import Block

Move = Callable[[torch.Tensor], torch.Tensor]


def on_device(blocks: Iterator[Block], device: str) -> Iterator[Block]:
    """The same blocks with their rows on a device.

    On the CPU they are handed through. For an accelerator a thread reads one block ahead, copies it
    into pinned memory and on, by a stream of its own; so a block may be kept while the next comes.
    """
    if device == "cpu":
        yield from blocks
        return
    kind = getattr(torch, torch.device(device).type)
    side = kind.Stream(device)

    def move(rows: torch.Tensor) -> torch.Tensor:
        pinned = rows.clone().pin_memory()
        with kind.stream(side):
            there = pinned.to(device, non_blocking=True)
        side.synchronize()
        return there

    for block in one_ahead(blocks, move):
        # made by the side stream, used by this one: the allocator must know of both
        block.rows.record_stream(kind.current_stream(device))
        yield block


def one_ahead(blocks: Iterator[Block], move: Move) -> Iterator[Block]:
    """Blocks with their rows moved, by a thread that is one block ahead of the consumer."""

    def fetch() -> Block | None:
        block = next(blocks, None)
        return block and replace(block, rows=move(block.rows))

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(fetch)
        while (block := coming.result()) is not None:
            coming = reader.submit(fetch)
            yield block
