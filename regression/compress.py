"""One pass over one part of the data: rows in, R factors out."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice

import torch
from torch import Tensor

from regression.config import Split
from regression.errors import InputError
from regression.factor import MERGED_AT_ONCE, Factor, fold, merge, union_of
from regression.rows import Block, Source
from regression.sample import SAMPLE_ROWS, Sample, merge_samples
from regression.split import row_hashes
from regression.table import Table

# Part of every cache key. Raise it whenever the same rows would give other numbers.
VERSION = 2


@dataclass(frozen=True)
class Compressed:
    """What one pass keeps of the rows: enough for training, evaluation and the pictures.

    Attributes:
        factors: the R factor of each share of the rows: "train" and "test", or "fold 0" ... and
            "test" where the training rows are cross-validated.
        sample: a uniform sample of the held-out rows, of all rows where none are held out.
        digests: SHA-256 over all the data read of each part, in hexadecimal, in the parts' order.
        dropped: rows left out because a value was missing.
    """

    factors: dict[str, Factor]
    sample: Sample
    digests: tuple[str, ...]
    dropped: int = 0

    @property
    def digest(self) -> str:
        """One part's own digest, or the digest of all digests in order."""
        if len(self.digests) == 1:
            return self.digests[0]
        return sha256("".join(self.digests).encode()).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, then of the target."""
        return self.sample.columns

    @property
    def folds(self) -> list[Factor]:
        """The factors of the folds, in order; empty without cross-validation."""
        return [self.factors[name] for name in sorted(self.factors) if name.startswith("fold")]

    @property
    def train(self) -> Factor:
        """The factor of the training rows."""
        return (
            merge(self.folds)
            if self.folds
            else self.factors.get("train", Factor.empty(self.columns))
        )

    @property
    def test(self) -> Factor:
        """The factor of the held-out rows; possibly of none."""
        return self.factors.get("test", Factor.empty(self.columns))

    @property
    def rows(self) -> int:
        """How many rows were kept."""
        return sum(factor.rows for factor in self.factors.values())

    def select(self, columns: Sequence[str]) -> "Compressed":
        """The same rows with these columns only, in this order; the target stays the last."""
        factors = {name: factor.select(columns) for name, factor in self.factors.items()}
        return replace(self, factors=factors, sample=self.sample.select(columns))

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        factors = {name: factor.to_dict() for name, factor in self.factors.items()}
        return {
            "factors": factors,
            "sample": self.sample.to_dict(),
            "digests": list(self.digests),
            "dropped": self.dropped,
        }

    @classmethod
    def from_dict(cls, values: dict) -> "Compressed":
        """The inverse of to_dict."""
        factors = {name: Factor.from_dict(each) for name, each in values["factors"].items()}
        return cls(
            factors, Sample.from_dict(values["sample"]), tuple(values["digests"]), values["dropped"]
        )


def compress(
    source: Source,
    part: str,
    split: Split,
    device: str = "cpu",
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Compressed:
    """Read one part once.

    Args:
        source: where the rows come from.
        part: one of its parts.
        split: which rows are held out, and the folds.
        device: where blocks are folded; one that lacks float64 (mps) folds on the CPU.
        on_rows: told the number of rows of each block that is done; what it raises ends the pass.

    Raises:
        InputError: the data is wrong.
        OSError: the file cannot be read just now, or changed while it was read.
    """
    digest = source.file(part).digest() if isinstance(source, Table) else sha256()
    name = source.file(part).name if isinstance(source, Table) else part
    shares = _Shares(name, split, "cpu" if device == "mps" else device, source.names)
    with one_thread():
        for block in source.blocks(part):
            if not isinstance(digest, str):
                digest.update(block.rows.numpy().tobytes())
            shares.add(block)  # shifts the block in place
            on_rows(block.span)
    if isinstance(source, Table):
        source.file(part).check_unchanged()
    return shares.finish(digest if isinstance(digest, str) else digest.hexdigest())


def combine(parts: Iterable[Compressed]) -> Compressed:
    """The whole of several parts, merged in their order; bit for bit the same wherever they ran.

    Holds 64 parts at a time, so memory does not grow with their number.

    Raises:
        InputError: there is not one row to train on.
    """
    parts = iter(parts)
    groups = []
    while group := list(islice(parts, MERGED_AT_ONCE)):
        groups.append(combine_group(group))
    return combine_groups(groups)


def combine_group(parts: Sequence[Compressed]) -> Compressed:
    """Up to 64 consecutive parts as one: a node of the tree that combine climbs."""
    names = sorted({name for part in parts for name in part.factors})
    columns = union_of([factor for part in parts for factor in part.factors.values()])
    with one_thread():
        factors = {n: merge([p.factors[n] for p in parts if n in p.factors]) for n in names}
        factors = {name: factor.select(columns) for name, factor in factors.items()}
    sample = merge_samples([part.sample for part in parts], columns)
    digests = tuple(digest for part in parts for digest in part.digests)
    return Compressed(factors, sample, digests, sum(part.dropped for part in parts))


def combine_groups(groups: Iterable[Compressed]) -> Compressed:
    """The rest of combine, from groups of 64 parts (the last may have fewer)."""
    level = list(groups)
    while len(level) > 1:
        level = [
            combine_group(level[i : i + MERGED_AT_ONCE])
            for i in range(0, len(level), MERGED_AT_ONCE)
        ]
    whole = level[0]
    if not whole.train.rows:
        raise InputError(
            f"data must have at least one row to train on. Got {whole.rows} rows, "
            f"{whole.dropped} dropped, {whole.test.rows} held out."
        )
    return whole


class _OneThread:
    """One thread of arithmetic each: parts run side by side, and the last bit stays the same.

    torch's setting is the whole process's: the first in saves it, the last out restores it.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
            self._inside += 1
        torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    torch.set_num_threads(self._before)


one_thread = _OneThread()


@dataclass
class _Shares:
    """The state of a pass: a growing R for each share of the rows."""

    name: str
    split: Split
    device: str
    columns: tuple[str, ...]
    shift: dict[str, float] = field(default_factory=dict)
    factors: dict[str, Factor] = field(default_factory=dict)
    sample: Sample = field(init=False)
    drawn: list[Sample] = field(default_factory=list)
    dropped: int = 0

    def __post_init__(self) -> None:
        self.sample = Sample.empty(self.columns)

    def add(self, block: Block) -> None:
        """Fold one block in."""
        if not self.shift or block.columns != self.columns:
            self._widen(block)
        held_out = None
        if self.split.test_fraction:
            held_out = self._uniform(block, "test") < self.split.test_fraction
        self._draw(block, held_out)
        shift = self._shift_vector(self.columns)
        block.rows[1:] -= shift[:, None]
        for name, chosen in self._shares(block, held_out):
            rows = block.rows if chosen is None else block.rows[:, chosen]
            self._fold(name, rows.mT, shift)
        self.dropped += block.span - block.rows.shape[1]

    def finish(self, digest: str) -> Compressed:
        """What the pass leaves."""
        self._settle_sample()
        factors = {
            n: Factor(f.columns, f.r.cpu(), f.rows, f.shift) for n, f in self.factors.items()
        }
        return Compressed(
            factors or {"train": Factor.empty(self.columns)}, self.sample, (digest,), self.dropped
        )

    def _fold(self, name: str, rows: Tensor, shift: Tensor) -> None:
        before = self.factors.get(name)
        if not len(rows):
            return
        r = fold(before.r if before else None, rows.to(self.device))
        self.factors[name] = Factor(
            self.columns, r, len(rows) + (before.rows if before else 0), shift
        )

    def _shares(self, block: Block, held_out: Tensor | None) -> Iterator[tuple[str, Tensor | None]]:
        """The shares that a block's rows fall into; None stands for all of them."""
        trained = None
        if held_out is not None:
            yield "test", held_out
            trained = ~held_out
        if not self.split.folds:
            yield "train", trained
            return
        fold_of = (self._uniform(block, "fold") * self.split.folds).floor()
        for number in range(self.split.folds):
            chosen = fold_of == number
            yield f"fold {number:02}", chosen if trained is None else chosen & trained

    def _draw(self, block: Block, held_out: Tensor | None) -> None:
        """Let the block's rows compete for places in the sample."""
        keys = self._uniform(block, "sample")
        chosen = (keys if held_out is None else keys.where(held_out, 1.0)) < self.sample.bound
        if chosen.any():
            places = chosen.nonzero().flatten()
            best = keys[places].topk(min(SAMPLE_ROWS, len(places)), largest=False)
            places = places[best.indices]
            self.drawn.append(Sample(self.columns, keys[places], block.rows[1:, places].mT.clone()))
            if sum(len(sample.keys) for sample in self.drawn) >= SAMPLE_ROWS:
                self._settle_sample()

    def _settle_sample(self) -> None:
        """Merge what was drawn; not after every block, which would cost as much as drawing."""
        self.sample = merge_samples([self.sample, *self.drawn], self.columns)
        self.drawn = []

    def _uniform(self, block: Block, use: str) -> Tensor:
        """One uniform number for each row of the block."""
        numbers = row_hashes(self.split.seed, self.name, block.first_row, block.span, use)
        return numbers if block.kept is None else numbers[block.kept]

    def _widen(self, block: Block) -> None:
        """Take in the first row as the shift, or levels that a later block brings."""
        self.columns = block.columns
        if not self.shift and block.rows.shape[1]:
            row = block.rows[1:, 0].tolist()
            self.shift = dict(zip(block.columns, row, strict=True))
        shift = self._shift_vector(self.columns)
        for name, factor in self.factors.items():
            on_cpu = replace(factor, r=factor.r.cpu())  # rare, and Factor's algebra is the CPU's
            wider = on_cpu.select(self.columns).shifted_to(shift)
            self.factors[name] = replace(wider, r=wider.r.to(self.device))

    def _shift_vector(self, columns: Sequence[str]) -> Tensor:
        return torch.tensor([self.shift.get(n, 0.0) for n in columns], dtype=torch.float64)
