"""One pass over one part of the data: rows in, R factors out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from plumbline.config.schema import Split
from plumbline.data.blocks import Block, Source, on_device
from plumbline.data.encoding import columns_with_missing
from plumbline.data.split import block_hashes, shares_of
from plumbline.linear.factor import Factor
from plumbline.linear.sample import MOST_ROWS, Sample, Sampler
from plumbline.linear.summary import Summary
from plumbline.threads import one_thread

# Part of every cache key. Increase it whenever the same rows would give other numbers or bytes.
VERSION = 19


def compress(
    source: Source,
    part: str,
    split: Split,
    device: str = "cpu",
    on_rows: Callable[[int], None] = lambda rows: None,
    most_rows: int = MOST_ROWS,
) -> Summary:
    """Read one part of the data once and return its summary.

    Args:
        source: where the rows come from.
        part: one of its parts.
        split: which rows are held out, and the number of folds.
        device: where blocks are folded; mps lacks float64, so the CPU is used instead.
        on_rows: called after each block with its number of rows; an exception ends the pass.
        most_rows: the sample keeps all rows of its share up to this many, else only SAMPLE_ROWS.

    Raises:
        InputError: the data is wrong.
        OSError: the file cannot be read just now, or changed while it was read.
    """
    device = "cpu" if device == "mps" else device
    shares = _Shares(split, most_rows, source.names)
    with one_thread():
        digest = source.digest(part)
        for block in on_device(source.blocks(part), device):
            shares.add(block)
            on_rows(block.span)
    return shares.finish(digest)


@dataclass
class _Shares:
    """The state of a pass: an R factor for each share of the rows, and samples."""

    split: Split
    most_rows: int
    columns: tuple[str, ...]
    shift: dict[str, float] = field(default_factory=dict)
    factors: dict[str, Factor] = field(default_factory=dict)
    samplers: dict[str, Sampler] = field(default_factory=dict)
    dropped: int = 0

    def add(self, block: Block) -> None:
        """Fold in one block, whose rows are shifted and weighted in place."""
        if not self.shift or block.columns != self.columns:
            self._widen(block)
        shares = shares_of(self.split, block)
        keys = block_hashes(self.split.seed, block, "sample")
        for name in [name for name in shares if name != "validation"]:
            sampler = self.samplers.setdefault(name, Sampler(self.columns, self.most_rows))
            sampler.add(block, keys, shares[name])
        shift = self._shift_vector(self.columns)
        block.rows[1:] -= shift[:, None].to(block.rows.device)
        for name in columns_with_missing(self.columns[:-1]):  # a missing value reads as the shift
            block.rows[1 + self.columns.index(name)].nan_to_num_()
        if (block.rows[0] != 1).any():
            block.rows[1:] *= block.rows[0].sqrt_()
        empty = replace(Factor.empty(self.columns), shift=shift)
        for name, chosen in self._with_folds(block, shares):
            rows = block.rows if chosen is None else block.rows[:, chosen]
            if rows.shape[1]:
                self.factors[name] = self.factors.get(name, empty).plus(rows.mT)
        self.dropped += block.span - block.rows.shape[1]

    def finish(self, digest: str) -> Summary:
        """Return the summary of all rows that were folded in."""
        factors = {name: replace(f, r=f.r.cpu()) for name, f in self.factors.items()}
        samples = {n: of.settle().select(self.columns) for n, of in self.samplers.items()}
        return Summary(
            factors or {"train": Factor.empty(self.columns)},
            samples or {"train": Sample.empty(self.columns)},
            (digest,),
            self.dropped,
        )

    def _with_folds(
        self, block: Block, shares: dict[str, Tensor | None]
    ) -> Iterator[tuple[str, Tensor | None]]:
        """Yield each share of a block with a mask of its rows; training rows by fold, if any."""
        trained = shares["train"]
        yield from ((name, chosen) for name, chosen in shares.items() if name != "train")
        if not self.split.folds:
            yield "train", trained
            return
        fold_of = (block_hashes(self.split.seed, block, "fold") * self.split.folds).floor()
        for number in range(self.split.folds):
            chosen = fold_of == number
            yield f"fold {number:02}", chosen if trained is None else chosen & trained

    def _widen(self, block: Block) -> None:
        """Set the shift from the first row, or add columns for the levels of a later block."""
        self.columns = block.columns
        if not self.shift and block.rows.shape[1]:
            self.shift = dict(zip(block.columns, _first_values(block.rows[1:]), strict=True))
        shift = self._shift_vector(self.columns)
        for name, factor in self.factors.items():
            on_cpu = replace(factor, r=factor.r.cpu())  # rare, and Factor computes on the CPU
            wider = on_cpu.select(self.columns).shifted_to(shift)
            self.factors[name] = replace(wider, r=wider.r.to(factor.r.device))

    def _shift_vector(self, columns: Sequence[str]) -> Tensor:
        return torch.tensor([self.shift.get(n, 0.0) for n in columns], dtype=torch.float64)


def _first_values(rows: Tensor) -> list[float]:
    """The first value of each row that is not missing; 0 if all are."""
    values = rows[:, 0].clone()
    for i in values.isnan().nonzero().flatten().tolist():
        there = rows[i][~rows[i].isnan()]
        values[i] = there[0] if len(there) else 0.0
    return values.tolist()
