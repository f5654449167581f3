"""What one pass keeps of the rows, and how parts become the whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import islice

from plumbline.errors import InputError
from plumbline.linear.factor import MERGED_AT_ONCE, Factor, merge, union_of
from plumbline.linear.sample import Sample, merge_samples
from plumbline.threads import one_thread

GROUP = MERGED_AT_ONCE**2  # parts that a task merges: two levels of the tree


@dataclass(frozen=True, eq=False)  # its own key for what is computed once
class Summary:
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

    @cached_property
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

    def weighted(self, weight: float) -> "Summary":
        """The same rows with another weight; the sample stays as it was drawn."""
        factors = {name: factor.weighted(weight) for name, factor in self.factors.items()}
        return replace(self, factors=factors)

    def select(self, columns: Sequence[str]) -> "Summary":
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
    def from_dict(cls, values: dict) -> "Summary":
        """The inverse of to_dict."""
        factors = {name: Factor.from_dict(each) for name, each in values["factors"].items()}
        return cls(
            factors, Sample.from_dict(values["sample"]), tuple(values["digests"]), values["dropped"]
        )


def combine(parts: Iterable[Summary]) -> Summary:
    """The whole of several parts, merged in their order; bit for bit the same wherever they ran.

    Holds 64 parts at a time, so memory does not grow with their number.

    Raises:
        InputError: there is not one row to train on.
    """
    parts = iter(parts)
    return combine_groups(
        combine_group(group) for group in iter(lambda: list(islice(parts, GROUP)), [])
    )


def combine_group(parts: Sequence[Summary]) -> Summary:
    """Up to 64 consecutive parts as one, by eights."""
    starts = range(0, len(parts), MERGED_AT_ONCE)
    return combine_eight([combine_eight(parts[i : i + MERGED_AT_ONCE]) for i in starts])


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


def combine_groups(groups: Iterable[Summary], label: str = "data") -> Summary:
    """The rest of combine, from groups of 64 parts (the last may have fewer).

    A tree whose nodes join 8 each. A node is made as soon as its 8 are there, so at most 8 are held
    a level. An error calls the whole by its label.
    """
    levels: list[list[Summary]] = [[]]
    for group in groups:
        _add(levels, 0, group)
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


def _add(levels: list[list[Summary]], height: int, node: Summary) -> None:
    """Put a node into the tree; its 8th completes the node above."""
    if height == len(levels):
        levels.append([])
    levels[height].append(node)
    if len(levels[height]) == MERGED_AT_ONCE:
        full, levels[height] = levels[height], []
        _add(levels, height + 1, combine_eight(full))
