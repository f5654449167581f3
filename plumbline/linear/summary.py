"""The summary of rows that a pass keeps, and how summaries of parts are combined."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice

import numpy as np
import torch
from blake3 import blake3

from plumbline.data.columns import Columns
from plumbline.data.encoding import MISSING, columns_with_missing, levels_in
from plumbline.errors import InputError, TooManyLevelsError
from plumbline.linear.factor import MERGED_AT_ONCE, Factor, merge, union_of
from plumbline.linear.sample import Sample, merge_samples
from plumbline.threads import one_thread


@dataclass(frozen=True, eq=False)  # hashed by identity, for cached results
class Summary:
    """The summary of rows that one pass keeps: enough for training, evaluation and plots.

    Attributes:
        factors: the R factor of each share of the rows: "train" (with folds "fold 00", "fold
            01", ... instead), "validation" and "test". All have the columns of the samples.
        samples: the training rows ("train") and the test rows, if the split has such ("test"), or
            samples of them.
        digests: BLAKE3 over all the data read of each part, in hexadecimal, in the parts' order.
        dropped: rows left out because a value was missing, or because their weight is 0.
        merged_rows: part_rows, if it is of several parts.
    """

    factors: dict[str, Factor]
    samples: dict[str, Sample]
    digests: tuple[str, ...]
    dropped: int = 0
    merged_rows: tuple[tuple[int, int], ...] = ()

    @property
    def sample(self) -> Sample:
        """The sample of the test rows; of the training rows if the split has no test rows."""
        return self.samples["test" if "test" in self.samples else "train"]

    @property
    def part_rows(self) -> tuple[tuple[int, int], ...]:
        """The number of training and of validation rows of each part, in the parts' order."""
        held = {"test", "validation"}
        train = sum(each.rows for name, each in self.factors.items() if name not in held)
        return self.merged_rows or ((train, self.validation.rows),)

    @property
    def digest(self) -> str:
        """The digest of a single part, or the digest of the digests of several in order."""
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
        return merge(self.folds) if self.folds else self._share("train")

    @property
    def fold_pairs(self) -> Iterator[tuple[Factor, Factor]]:
        """Yield (factor of the other folds, its own factor) for each fold, if both have rows."""
        for number, held in enumerate(self.folds):
            others = [factor for i, factor in enumerate(self.folds) if i != number and factor.rows]
            if held.rows and others:
                yield merge(others).select(self.columns), held.select(self.columns)

    @property
    def validation(self) -> Factor:
        """The factor of the rows held out for the validation loss; of no rows if there are none."""
        return self._share("validation")

    @cached_property
    def train_and_validation(self) -> Factor:
        """The factor of every row that is not held out for testing."""
        return merge([self.train, self.validation]) if self.validation.rows else self.train

    @property
    def test(self) -> Factor:
        """The factor of the test rows; of no rows if there are none."""
        return self._share("test")

    def _share(self, name: str) -> Factor:
        return self.factors.get(name, Factor.empty(self.columns))

    @property
    def rows(self) -> int:
        """The number of rows that were kept."""
        return sum(factor.rows for factor in self.factors.values())

    def weighted(self, weight: float) -> "Summary":
        """The same rows with every weight multiplied by `weight`; the samples are unchanged."""
        factors = {name: factor.weighted(weight) for name, factor in self.factors.items()}
        return replace(self, factors=factors)

    def aged(self, age: int, half_life: float | None) -> "Summary":
        """The same rows with half the weight for every `half_life` files of their age.

        Args:
            age: the number of files that come after the rows' file.
            half_life: in files; None: every row keeps its weight.
        """
        return self.weighted(2.0 ** (-age / half_life)) if half_life else self

    def filled(self, means: Mapping[str, float]) -> "Summary":
        """The same rows with missing values replaced by the means of their columns."""
        missing = columns_with_missing(self.columns[:-1])
        means = {name: means[name] for name in missing if name in means}
        factors = {}
        for name, factor in self.factors.items():
            known = zip(factor.columns, factor.shift.tolist(), strict=True)
            shift = [means.get(column, value) for column, value in known]
            factors[name] = factor.merged_to(torch.tensor(shift, dtype=torch.float64))
        fill = torch.tensor([means.get(n, math.nan) for n in self.columns], dtype=torch.float64)
        samples = {
            name: replace(sample, rows=torch.where(sample.rows.isnan(), fill, sample.rows))
            for name, sample in self.samples.items()
        }
        return replace(self, factors=factors, samples=samples)

    def select(self, columns: Sequence[str]) -> "Summary":
        """The same rows with only these columns, in this order; the target must be the last."""
        factors = {name: factor.select(columns) for name, factor in self.factors.items()}
        samples = {name: sample.select(columns) for name, sample in self.samples.items()}
        return replace(self, factors=factors, samples=samples)

    def to_bytes(self) -> bytes:
        """Serialise: a checksum, a line of JSON with names and counts, and the numbers to the bit.

        A run reads one for every file it has seen before; a zip archive takes seven times as long.
        """
        counts = {n: [f.rows, f.mean_weight, f.row_weight] for n, f in self.factors.items()}
        about = {
            "columns": self.columns,
            "factors": counts,
            "samples": {n: [len(s.keys), s.complete] for n, s in self.samples.items()},
            "digests": self.digests,
            "dropped": self.dropped,
        }
        tensors = [each for f in self.factors.values() for each in (f.r, f.shift)]
        tensors += [each for s in self.samples.values() for each in (s.keys, s.rows, s.weights)]
        numbers = torch.cat([each.flatten() for each in tensors]).numpy().astype("<f8")
        content = json.dumps(about).encode() + b"\n" + numbers.tobytes()
        return blake3(content).digest() + content

    @classmethod
    def from_bytes(cls, content: bytes) -> "Summary":
        """The inverse of to_bytes.

        Raises:
            ValueError: the content is damaged.
        """
        size = blake3.digest_size
        if blake3(content[size:]).digest() != content[:size]:
            raise ValueError("not a summary, or a damaged one: its checksum does not match")
        line, _, raw = content[size:].partition(b"\n")
        about = json.loads(line)
        numbers = torch.from_numpy(np.frombuffer(raw, "<f8").astype(float))
        columns, p = tuple(about["columns"]), len(about["columns"]) + 1
        sizes = [p * p, p - 1] * len(about["factors"])
        sizes += [n * width for n, _ in about["samples"].values() for width in (1, p - 1, 1)]
        tensors = (each.clone() for each in numbers.split(sizes))
        factors = {
            name: Factor(columns, next(tensors).reshape(p, p), rows, next(tensors), *weights)
            for name, (rows, *weights) in about["factors"].items()
        }
        samples = {
            name: Sample(
                columns, next(tensors), next(tensors).reshape(n, p - 1), next(tensors), complete
            )
            for name, (n, complete) in about["samples"].items()
        }
        return cls(factors, samples, tuple(about["digests"]), about["dropped"])


def combine(parts: Iterable[Summary], label: str = "data") -> Summary:
    """Combine the summaries of parts in order; the result is the same to the bit wherever they ran.

    The parts form a tree whose nodes join 8 each. A node is made as soon as its 8 are there, so at
    most 8 are held per level, and memory grows only with the logarithm of the number of parts.

    Args:
        parts: at least one.
        label: the subject of an error message.

    Raises:
        InputError: there is no row to train on.
    """
    nodes = iter(parts)
    whole, other = next(nodes), next(nodes, None)
    while other is not None:
        nodes = _joined(chain([whole, other], nodes))
        whole, other = next(nodes), next(nodes, None)
    if not whole.train.rows:
        why = (
            " Dropped are rows without a target or a weight above 0 and, with data.missing: drop, "
            "those without a feature (make describe shows which columns lack values)."
        )
        raise InputError(
            f"{label} must have at least one row to train on. Got {whole.rows} rows, "
            f"{whole.dropped} dropped, {whole.test.rows} held out.{why if whole.dropped else ''}"
        )
    return whole


def within_levels(parts: Iterable[Summary], columns: Columns) -> Iterator[Summary]:
    """Yield the same parts as long as no column exceeds data.max_levels in all of them together.

    Raises:
        TooManyLevelsError: a column has more levels.
    """
    met = {name: {MISSING} for name, given in columns.categorical.items() if not given}
    met.pop(columns.data.target, None)
    for part in parts:
        for name, levels in met.items():
            levels.update(levels_in(part.columns, name))
            if len(levels) > columns.data.max_levels + 1:
                raise TooManyLevelsError(name)
        yield part


def combine_eight(parts: Sequence[Summary]) -> Summary:
    """Combine up to 8 consecutive parts: a node of the tree that `combine` builds."""
    names = sorted({name for part in parts for name in part.factors})
    columns = union_of([factor for part in parts for factor in part.factors.values()])
    with one_thread():
        factors = {n: merge([p.factors[n] for p in parts if n in p.factors]) for n in names}
        factors = {name: factor.select(columns) for name, factor in factors.items()}
    samples = {
        name: merge_samples([p.samples[name] for p in parts if name in p.samples], columns)
        for name in sorted({name for part in parts for name in part.samples})
    }
    digests = tuple(digest for part in parts for digest in part.digests)
    part_rows = tuple(rows for part in parts for rows in part.part_rows)
    return Summary(factors, samples, digests, sum(part.dropped for part in parts), part_rows)


def _joined(nodes: Iterator[Summary]) -> Iterator[Summary]:
    """Yield the next level of the tree: a node for every 8, and one for the rest."""
    while (first := next(nodes, None)) is not None:
        yield combine_eight([first, *islice(nodes, MERGED_AT_ONCE - 1)])
