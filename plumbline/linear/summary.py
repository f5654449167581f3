"""What one pass keeps of the rows, and how parts become the whole."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from blake3 import blake3

from plumbline.data.columns import Columns
from plumbline.data.encoding import MISSING, holes_of, levels_in
from plumbline.errors import InputError, TooManyLevelsError
from plumbline.linear.factor import MERGED_AT_ONCE, Factor, merge, union_of
from plumbline.linear.sample import Sample, merge_samples
from plumbline.threads import one_thread


@dataclass(frozen=True, eq=False)  # its own key for what is computed once
class Summary:
    """What one pass keeps of the rows: enough for training, evaluation and the pictures.

    Attributes:
        factors: the R factor of each share of the rows: "train" (if it is cross-validated, "fold
            00", "fold 01", ...), "validation" and "test". All have the sample's columns.
        sample: the test rows, the training rows where there are none, or a sample of them.
        digests: BLAKE3 over all the data read of each part, in hexadecimal, in the parts' order.
        dropped: rows left out because a value was missing, or because their weight is 0.
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
        return blake3("".join(self.digests).encode()).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, then of the target."""
        return self.sample.columns

    @property
    def folds(self) -> list[Factor]:
        """The factors of the folds, in order; empty without cross-validation."""
        return [self.factors[name] for name in sorted(self.factors) if name.startswith("fold")]

    @cached_property
    def train(self) -> Factor:
        """The factor of the training rows."""
        return (
            merge(self.folds)
            if self.folds
            else self.factors.get("train", Factor.empty(self.columns))
        )

    @property
    def fold_pairs(self) -> Iterator[tuple[Factor, Factor]]:
        """For each fold: the factor of all others, and its own; not if either has no row."""
        for number, held in enumerate(self.folds):
            others = [factor for i, factor in enumerate(self.folds) if i != number and factor.rows]
            if held.rows and others:
                yield merge(others).select(self.columns), held.select(self.columns)

    @property
    def validation(self) -> Factor:
        """The factor of the rows held out for the validation loss; possibly of none."""
        return self.factors.get("validation", Factor.empty(self.columns))

    @cached_property
    def train_and_validation(self) -> Factor:
        """The factor of every row that is not held out for testing."""
        return merge([self.train, self.validation]) if self.validation.rows else self.train

    @property
    def test(self) -> Factor:
        """The factor of the held-out rows; possibly of none."""
        return self.factors.get("test", Factor.empty(self.columns))

    @property
    def rows(self) -> int:
        """How many rows were kept."""
        return sum(factor.rows for factor in self.factors.values())

    def weighted(self, weight: float) -> "Summary":
        """The same rows with another weight; the sample stays as it was drawn."""
        factors = {name: factor.weighted(weight) for name, factor in self.factors.items()}
        return replace(self, factors=factors)

    def aged(self, age: int, half_life: float | None) -> "Summary":
        """The same rows with half the weight for every `half_life` files of their age.

        Args:
            age: the number of files after the rows' own.
            half_life: in files; None: every row keeps its weight.
        """
        return self.weighted(2.0 ** (-age / half_life)) if half_life else self

    def filled(self, means: Mapping[str, float]) -> "Summary":
        """The same rows with means in the holes of the columns that have some, and a mean."""
        means = {name: means[name] for name in holes_of(self.columns[:-1]) if name in means}
        factors = {}
        for name, factor in self.factors.items():
            known = zip(factor.columns, factor.shift.tolist(), strict=True)
            shift = [means.get(column, value) for column, value in known]
            factors[name] = factor.merged_to(torch.tensor(shift, dtype=torch.float64))
        fill = torch.tensor([means.get(n, math.nan) for n in self.columns], dtype=torch.float64)
        rows = self.sample.rows
        sample = replace(self.sample, rows=torch.where(rows.isnan(), fill, rows))
        return replace(self, factors=factors, sample=sample)

    def select(self, columns: Sequence[str]) -> "Summary":
        """The same rows with these columns only, in this order; the target stays the last."""
        factors = {name: factor.select(columns) for name, factor in self.factors.items()}
        return replace(self, factors=factors, sample=self.sample.select(columns))

    def to_bytes(self) -> bytes:
        """A checksum, the names and counts as a line of JSON, and the numbers to the bit.

        Runs read one for every file that they know, and an archive takes seven times as long.
        """
        about = {
            "columns": self.columns,
            "factors": {
                name: [f.rows, f.mean_weight, f.row_weight] for name, f in self.factors.items()
            },
            "sampled": [len(self.sample.keys), self.sample.complete],
            "digests": self.digests,
            "dropped": self.dropped,
        }
        tensors = [each for f in self.factors.values() for each in (f.r, f.shift)]
        tensors += [self.sample.keys, self.sample.rows, self.sample.weights]
        numbers = torch.cat([each.flatten() for each in tensors]).numpy().astype("<f8")
        content = json.dumps(about).encode() + b"\n" + numbers.tobytes()
        return blake3(content).digest() + content

    @classmethod
    def from_bytes(cls, content: bytes) -> "Summary":
        """The inverse of to_bytes.

        Raises:
            ValueError: it is damaged.
        """
        size = blake3.digest_size
        if blake3(content[size:]).digest() != content[:size]:
            raise ValueError("no summary: its checksum is another's")
        line, _, raw = content[size:].partition(b"\n")
        about = json.loads(line)
        numbers = torch.from_numpy(np.frombuffer(raw, "<f8").astype(float))
        columns, p = tuple(about["columns"]), len(about["columns"]) + 1
        sampled, complete = about["sampled"]
        sizes = [p * p, p - 1] * len(about["factors"]) + [sampled, sampled * (p - 1), sampled]
        tensors = (each.clone() for each in numbers.split(sizes))
        factors = {
            name: Factor(columns, next(tensors).reshape(p, p), rows, next(tensors), *weights)
            for name, (rows, *weights) in about["factors"].items()
        }
        keys, rows, weights = next(tensors), next(tensors).reshape(sampled, p - 1), next(tensors)
        sample = Sample(columns, keys, rows, weights, complete)
        return cls(factors, sample, tuple(about["digests"]), about["dropped"])


def combine(parts: Iterable[Summary], label: str = "data") -> Summary:
    """The whole of several parts, merged in their order; bit for bit the same wherever they ran.

    A tree whose nodes join 8 each. A node is made as soon as its 8 are there, so at most 8 are held
    a level, and memory does not grow with the number of parts.

    Args:
        parts: at least one.
        label: what an error calls the whole.

    Raises:
        InputError: there is not one row to train on.
    """
    levels: list[list[Summary]] = [[]]
    for part in parts:
        _add(levels, 0, part)
    while len(levels) > 1 or len(levels[0]) > 1:
        rest = levels.pop(0)
        if rest:
            levels = levels or [[]]
            levels[0].append(combine_eight(rest))
    whole = levels[0][0]
    if not whole.train.rows:
        raise InputError(
            f"{label} must have at least one row to train on. Got {whole.rows} rows, "
            f"{whole.dropped} dropped, {whole.test.rows} held out."
        )
    return whole


def within_levels(parts: Iterable[Summary], columns: Columns) -> Iterator[Summary]:
    """The same parts, while no column has more levels in all of them than it may.

    Raises:
        TooManyLevelsError: it has.
    """
    met = {name: {MISSING} for name, given in columns.categorical.items() if not given}
    met.pop(columns.target, None)
    for part in parts:
        for name, levels in met.items():
            levels.update(levels_in(part.columns, name))
            if len(levels) > columns.max_levels + 1:
                raise TooManyLevelsError(name)
        yield part


def combine_eight(parts: Sequence[Summary]) -> Summary:
    """Up to 8 consecutive parts as one: a node of the tree that combine climbs."""
    names = sorted({name for part in parts for name in part.factors})
    columns = union_of([factor for part in parts for factor in part.factors.values()])
    with one_thread():
        factors = {n: merge([p.factors[n] for p in parts if n in p.factors]) for n in names}
        factors = {name: factor.select(columns) for name, factor in factors.items()}
    sample = merge_samples([part.sample for part in parts], columns)
    digests = tuple(digest for part in parts for digest in part.digests)
    return Summary(factors, sample, digests, sum(part.dropped for part in parts))


def _add(levels: list[list[Summary]], height: int, node: Summary) -> None:
    """Put a node into the tree; its 8th completes the node above."""
    if height == len(levels):
        levels.append([])
    levels[height].append(node)
    if len(levels[height]) == MERGED_AT_ONCE:
        full, levels[height] = levels[height], []
        _add(levels, height + 1, combine_eight(full))
