"""The data as training sees it: merged factors in the model's features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from plumbline.config.schema import Split, SyntheticData, TableData
from plumbline.data.blocks import Source
from plumbline.data.encoding import MISSING, Encoding, names_of, parts_of
from plumbline.data.sources import Table
from plumbline.data.split import share_rows
from plumbline.errors import InputError
from plumbline.linear.factor import Factor, triangle
from plumbline.linear.summary import Summary
from plumbline.threads import MapParts, in_threads

LEAST_SIZE = 1e-150  # of what a column varies by: float64 holds squares from 1e-308 to 1e308


@dataclass(frozen=True, eq=False)  # its own key for what is computed once
class Dataset:
    """The data as training sees it.

    Attributes:
        summary: the merged factors of all parts, in the model's features; the target, the last
            column, is zeros if it has classes, and its logarithm with data.log_target.
        profiled: the same, with an indicator for each class of the target but the first.
        encoding: from raw columns to those features.
        source: where the rows came from.
        counts: files_new, files_reused, files_left_out, rows_new, rows_reused, rows_dropped, and
            rows_left_out where it is known.
        map_parts: goes over the parts of the source, if training does so part by part.
        balanced: whether the target's classes count alike.
        split: which rows are held out.
    """

    summary: Summary
    profiled: Summary
    encoding: Encoding
    source: Source
    counts: dict[str, int]
    map_parts: MapParts = in_threads
    balanced: bool = False
    split: Split = field(default_factory=Split)

    @classmethod
    def of(
        cls,
        whole: Summary,
        data: SyntheticData | TableData,
        source: Source,
        counts: dict[str, int],
        map_parts: MapParts = in_threads,
    ) -> "Dataset":
        """Encode what the pass found.

        Raises:
            InputError: no feature is left, because each categorical column has one level; or a
                column's squares are beyond float64.
        """
        *columns, target = whole.columns
        encoding = Encoding.of(columns, source.categorical, target, source.dates)
        encoding = _varying(encoding, whole.train)
        encoding = replace(encoding, log_target=data.log_target)
        if data.missing == "impute":
            encoding = _with_means(encoding, whole.train)
            whole = whole.filled(encoding.means)
            assert isinstance(source, Table)
            source = source.with_columns(means=encoding.means)
        if not encoding.features:
            raise InputError(
                f"data.categorical must have a column with at least two levels. Got "
                f"{', '.join(f'{c}: {found}' for c, (found,) in encoding.levels.items())} instead, "
                "and no numeric feature beside it."
            )
        if encoding.classes:
            _check_classes(whole, encoding.classes)
        summary = whole.select((*encoding.features, target))
        for factor in summary.factors.values():
            _check_size(factor)
        profiled = whole.select(_profiled(encoding, target)) if encoding.classes else summary
        if data.unknown == "other":
            encoding = replace(encoding, shares=_shares(encoding, summary.train))
        balanced = data.class_weight == "balanced"
        split = data.holding_out
        found = cls(summary, profiled, encoding, source, counts, map_parts, balanced, split)
        if not balanced:
            return found
        return replace(found, source=found.table.with_columns(class_weights=found.class_weights))

    @property
    def table(self) -> Table:
        """The source of rows of files."""
        assert isinstance(self.source, Table)
        return self.source

    def rows(
        self, shares: Sequence[str], columns: Sequence[str], parts: Sequence[str] = ()
    ) -> Iterator[Tensor]:
        """The rows of some shares, read again: as share_rows yields them."""
        return share_rows(self.source, self.split, shares, columns, parts)

    @property
    def target(self) -> str:
        """The column to predict."""
        return self.summary.columns[-1]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of a block to predict: the target, or the indicators of its classes."""
        return tuple(names_of({self.target: self.encoding.classes})) or (self.target,)

    @property
    def observed_classes(self) -> Tensor:
        """The place of each row's class among the classes: (m,) of the sample's rows."""
        others = self.profiled.sample.rows[:, len(self.encoding.features) : -1]
        first = 1 - others.sum(dim=1, keepdim=True)  # the one without an indicator
        return torch.cat([first, others], dim=1).argmax(dim=1)

    def in_own_units(self, target: Tensor) -> Tensor:
        """Values of the target as it is read, which may be logarithms, in its own units."""
        return target.exp() if self.encoding.log_target else target

    def class_counts(self, factor: Factor) -> dict[str, float]:
        """The weight of the rows of each class in one of `profiled`'s factors; if rows have no
        weights, their number."""
        counts = level_counts(self.target, self.encoding.classes, factor)
        return {name: n * self.class_weights.get(name, 1.0) for name, n in counts.items()}

    @cached_property
    def class_weights(self) -> dict[str, float]:
        """What makes classes count alike in the rows not held out for testing: n / (K n_c), as
        scikit-learn's class_weight="balanced"; empty unless they shall."""
        if not self.balanced:
            return {}
        classes = self.encoding.classes
        counts = level_counts(self.target, classes, self.profiled.train_and_validation)
        n = sum(counts.values()) / len(classes)
        return {name: n / of_class for name, of_class in counts.items()}

    @property
    def has_weights(self) -> bool:
        """Whether rows count differently: by a column of weights, or by the size of their class."""
        weighted = isinstance(self.source, Table) and self.source.columns.weight is not None
        return weighted or self.balanced

    def mean_weight(self, factor: Factor) -> float:
        """Of the rows of one of `profiled`'s factors; 1 of none."""
        total = sum(self.class_counts(factor).values()) if self.balanced else factor.weight
        return total / factor.rows if factor.rows else 1.0

    def narrowed(self, data: SyntheticData | TableData) -> "Dataset":
        """The same rows with no other features than a configuration asks for.

        R factors can leave columns out exactly, so that the rows need not be read again.
        """
        if isinstance(data, SyntheticData) or data.features is None:
            return self
        levels, wanted = self.encoding.levels, (*data.features, *data.categorical)
        dates = {n: parts for n, parts in self.encoding.dates.items() if n in wanted}
        numeric = tuple(name for name in data.features if name not in {*levels, *dates})
        numeric += tuple(part for name, parts in dates.items() for part in parts_of(name, parts))
        encoding = replace(
            self.encoding,
            numeric=numeric,
            levels={name: found for name, found in levels.items() if name in wanted},
            holes=tuple(name for name in self.encoding.holes if name in numeric),
            dates=dates,
        )
        summary = self.summary.select((*encoding.features, self.target))
        profiled = self.profiled.select(_profiled(encoding, self.target))
        return replace(self, summary=summary, profiled=profiled, encoding=encoding)


def _varying(encoding: Encoding, train: Factor) -> Encoding:
    """The encoding without the parts of dates that are alike in all training rows, or that follow
    from the parts before them, as sines of two months do."""
    dates, rounding = {}, train.rounding()
    for column, parts in encoding.dates.items():
        places = [train.columns.index(name) for name in parts_of(column)]
        beyond = triangle(train.r[1:, 1:][:, places]).diagonal() > rounding[places]
        dates[column] = tuple(p for p, new in zip(parts, beyond.tolist(), strict=True) if new)
    gone = {name for c in dates for name in parts_of(c)}.difference(
        *(parts_of(c, parts) for c, parts in dates.items())
    )
    numeric = tuple(name for name in encoding.numeric if name not in gone)
    holes = tuple(name for name in encoding.holes if name not in gone)
    return replace(encoding, numeric=numeric, dates=dates, holes=holes)


def _with_means(encoding: Encoding, train: Factor) -> Encoding:
    """The encoding with each numeric column's mean over the training rows that have a value, 0 if
    none has, and without the indicators of holes that none of them has."""
    found = dict(zip(train.columns, train.means.tolist(), strict=True))
    found = {name: found[name] for name in encoding.numeric}
    shifts, holes = dict(zip(train.columns, train.shift.tolist(), strict=True)), []
    others = {name for c, parts in encoding.dates.items() for name in parts_of(c, parts[1:])}
    for name in encoding.holes:  # which read as the shift
        there, missing = level_counts(name, ("", MISSING), train).values()
        holes += [name] * (missing > 0 and name not in others)  # one for all parts of a date
        share = there / (there + missing)
        found[name] = shifts[name] + ((found[name] - shifts[name]) / share if there else 0.0)
    return replace(encoding, means=found, holes=tuple(holes))


def _shares(encoding: Encoding, train: Factor) -> dict[str, tuple[float, ...]]:
    """The share of the training rows that each level of each categorical column has."""
    counts = {c: level_counts(c, levels, train) for c, levels in encoding.levels.items()}
    return {c: tuple(n / train.weight for n in found.values()) for c, found in counts.items()}


def level_counts(column: str, levels: tuple[str, ...], factor: Factor) -> dict[str, float]:
    """The weight of a factor's rows of each level (their number if rows have none), without
    rounding for 0; the first, the reference, has the rest."""
    if not factor.rows:
        return dict.fromkeys(levels, 0.0)
    sums = factor.r[0, 0] * factor.r[0, 1:] + factor.r[0, 0] ** 2 * factor.shift
    of = dict(zip(factor.columns, sums.tolist(), strict=True))
    counts = {level: of[f"{column}={level}"] for level in levels[1:]}
    total = float(factor.r[0, 0] ** 2)
    counts = {levels[0]: total - sum(counts.values()), **counts}
    return {level: 0.0 if abs(n) < 1e-12 * total else n for level, n in counts.items()}


def _profiled(encoding: Encoding, target: str) -> tuple[str, ...]:
    return (*encoding.features, *names_of({target: encoding.classes[1:]}), target)


def _check_classes(whole: Summary, classes: tuple[str, ...]) -> None:
    """Refuse a target of one class, and a class that no row to train on has."""
    target = whole.columns[-1]
    if len(classes) < 2:
        raise InputError(
            f"data.target: '{target}' must have at least two classes. Got only '{classes[0]}'."
        )
    names = (*names_of({target: classes[1:]}), target)
    for name, rows in level_counts(target, classes, whole.train.select(names)).items():
        if not rows:
            raise InputError(
                f"data.target: class '{name}' of '{target}' must be in the training rows. Got it "
                "in held-out rows only: it is too rare; give more rows of it, or another data.seed."
            )


def _check_size(factor: Factor) -> None:
    """Refuse columns whose squares float64 cannot hold: their lengths would be 0 or infinite."""
    sizes = factor.r[:, 1:].abs().amax(dim=0)
    for name, size in zip(factor.columns, sizes.tolist(), strict=True):
        if size and not LEAST_SIZE <= size <= 1 / LEAST_SIZE:
            allowed = f"vary by {LEAST_SIZE:g} to {1 / LEAST_SIZE:g}, or not at all"
            raise InputError(
                f"column '{name}' must {allowed} (float64 cannot square what is smaller or "
                f"larger). Got {size:.3g}: write it in another unit."
            )
