"""The data set for training: merged factors in the model's features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from plumbline.config.schema import Split, SyntheticData, TableData
from plumbline.data.blocks import WEIGHT, Source
from plumbline.data.encoding import MISSING, Encoding, names_of, parts_of
from plumbline.data.sources import Table
from plumbline.data.split import share_rows
from plumbline.errors import InputError, listed
from plumbline.linear.factor import Factor, merge, triangle
from plumbline.linear.summary import Summary
from plumbline.threads import MapParts, in_threads

LEAST_SIZE = 1e-150  # of a column's deviation: float64 holds squares from 1e-308 to 1e308


@dataclass(frozen=True, eq=False)  # hashed by identity, for cached results
class Dataset:
    """The data set for training.

    Attributes:
        summary: the merged factors of all parts, in the model's features; the target, the last
            column, is zeros if it has classes, and its logarithm with data.log_target.
        profiled: the summary with an indicator for each class of the target but the first.
        encoding: from raw columns to the features.
        source: of the rows.
        counts: files_new, files_reused, files_left_out, rows_new, rows_reused, rows_dropped, and
            rows_left_out if it is known.
        map_parts: applies a function to the parts of the source, in training that reads them again.
        balanced: whether the classes of the target weigh the same.
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
        """Encode the summary of a pass over the data.

        Raises:
            InputError: no feature is left, because every text and date has one value; the
                target has one class, or a class is in no training row; or float64 cannot hold the
                squares of a column.
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
                "data must have a feature that varies in the training rows. Got only "
                f"{listed([*encoding.dates, *encoding.levels])}, with one value each."
            )
        if encoding.classes:
            encoding = replace(encoding, classes=_met_classes(whole, encoding.classes))
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
        """The source, if the rows are read from files."""
        assert isinstance(self.source, Table)
        return self.source

    def rows(
        self, shares: Sequence[str], columns: Sequence[str], parts: Sequence[str] = ()
    ) -> Iterator[Tensor]:
        """Read the rows of some shares again, as share_rows yields them; WEIGHT halves with the age
        of a file, as data.window.half_life says."""
        if not self._half_life or WEIGHT not in columns:
            yield from share_rows(self.source, self.split, shares, columns, parts)
            return
        ages = {part: age for age, part in enumerate(reversed(self.source.parts))}
        for part in parts or self.source.parts:
            for rows in share_rows(self.source, self.split, shares, columns, (part,)):
                rows[:, columns.index(WEIGHT)] *= 2.0 ** (-ages[part] / self._half_life)
                yield rows

    @property
    def _half_life(self) -> float | None:
        return self.source.columns.data.half_life if isinstance(self.source, Table) else None

    @property
    def target(self) -> str:
        """The column to predict."""
        return self.summary.columns[-1]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns to predict: the target, or the indicators of its classes."""
        return tuple(names_of({self.target: self.encoding.classes})) or (self.target,)

    @property
    def observed_classes(self) -> Tensor:
        """The index of the class of each row of the sample: (m,)."""
        others = self.profiled.sample.rows[:, len(self.encoding.features) : -1]
        first = 1 - others.sum(dim=1, keepdim=True)  # the one without an indicator
        return torch.cat([first, others], dim=1).argmax(dim=1)

    def in_own_units(self, target: Tensor) -> Tensor:
        """Convert values of the target as it is trained on, maybe logarithms, to its own units."""
        return target.exp() if self.encoding.log_target else target

    def class_counts(self, factor: Factor) -> dict[str, float]:
        """The total weight of the rows of each class in a factor of `profiled`; without weights,
        their number."""
        counts = level_counts(self.target, self.encoding.classes, factor)
        return {name: n * self.class_weights.get(name, 1.0) for name, n in counts.items()}

    @cached_property
    def class_weights(self) -> dict[str, float]:
        """The weights n / (K n_c) that balance the classes in the rows not held out for testing, as
        scikit-learn's class_weight="balanced"; empty unless `balanced`."""
        if not self.balanced:
            return {}
        classes = self.encoding.classes
        counts = level_counts(self.target, classes, self.profiled.train_and_validation)
        n = sum(counts.values()) / len(classes)
        return {name: n / of_class for name, of_class in counts.items()}

    @property
    def has_weights(self) -> bool:
        """Whether rows count differently: by a column of weights, or by the size of their class."""
        weighted = isinstance(self.source, Table) and self.source.columns.data.weight is not None
        return weighted or self.balanced

    def mean_weight(self, factor: Factor) -> float:
        """The mean weight of the rows in a factor of `profiled`; 1 if it has no rows."""
        total = sum(self.class_counts(factor).values()) if self.balanced else factor.weight
        return total / factor.rows if factor.rows else 1.0

    def narrowed(self, data: SyntheticData | TableData) -> "Dataset":
        """The same rows with only the features in data.features; all of them if that is None.

        Columns can be removed from R factors exactly, so the rows need not be read again.
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
    """Drop the parts of dates that are constant in the training rows or linear in the parts before
    them, as the sines of two months are. Monthly data, always on the same day, has no days of the
    week."""
    dates, rounding = {}, train.rounding()
    for column, parts in encoding.dates.items():
        places = [train.columns.index(name) for name in parts_of(column)]
        beyond = triangle(train.r[1:, 1:][:, places]).diagonal() > rounding[places]
        found = [part for part, new in zip(parts, beyond.tolist(), strict=True) if new]
        monthly = "day" not in found
        dates[column] = tuple(p for p in found if not (monthly and p.startswith("day_of_week")))
        if not dates[column] and parts_of(column)[0] in encoding.holes:
            dates[column] = parts[:1]  # whether the date is missing may matter still
    kept = {name for column, parts in dates.items() for name in parts_of(column, parts)}
    gone = {name for column in dates for name in parts_of(column)} - kept
    numeric = tuple(name for name in encoding.numeric if name not in gone)
    holes = tuple(name for name in encoding.holes if name not in gone)
    return replace(encoding, numeric=numeric, dates=dates, holes=holes)


def _with_means(encoding: Encoding, train: Factor) -> Encoding:
    """Add each numeric column's mean over the training rows with a value (0 if there are none), and
    drop the indicators of missing values of columns that have none in training."""
    found = dict(zip(train.columns, train.means.tolist(), strict=True))
    found = {name: found[name] for name in encoding.numeric}
    shifts, holes = dict(zip(train.columns, train.shift.tolist(), strict=True)), []
    others = {name for c, parts in encoding.dates.items() for name in parts_of(c, parts[1:])}
    for name in encoding.holes:  # missing values read as the shift
        there, missing = level_counts(name, ("", MISSING), train).values()
        holes += [name] * (missing > 0 and name not in others)  # one for all parts of a date
        share = there / (there + missing)
        found[name] = shifts[name] + ((found[name] - shifts[name]) / share if there else 0.0)
    return replace(encoding, means=found, holes=tuple(holes))


def _shares(encoding: Encoding, train: Factor) -> dict[str, tuple[float, ...]]:
    """The share of the training rows of each level of each categorical column."""
    counts = {c: level_counts(c, levels, train) for c, levels in encoding.levels.items()}
    return {c: tuple(n / train.weight for n in found.values()) for c, found in counts.items()}


def level_counts(column: str, levels: tuple[str, ...], factor: Factor) -> dict[str, float]:
    """The total weight of the rows of each level (their number if rows have no weights).

    The first level, the reference, has the rest; sums within rounding of 0 are 0.
    """
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


def _met_classes(whole: Summary, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes but for those whose rows were all dropped: of weight 0, or with a hole."""
    counts = level_counts(whole.columns[-1], classes, merge([*whole.factors.values()]))
    return tuple(name for name, rows in counts.items() if rows)


def _check_classes(whole: Summary, classes: tuple[str, ...]) -> None:
    """Refuse a target with a single class, and a class that is in no training row."""
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
                "only in held-out rows: it is rare. Add rows of it, or change data.seed."
            )


def _check_size(factor: Factor) -> None:
    """Refuse columns whose squares float64 cannot hold: lengths would be 0 or infinite."""
    sizes = factor.r[:, 1:].abs().amax(dim=0)
    for name, size in zip(factor.columns, sizes.tolist(), strict=True):
        if size and not LEAST_SIZE <= size <= 1 / LEAST_SIZE:
            allowed = f"vary by {LEAST_SIZE:g} to {1 / LEAST_SIZE:g}, or not at all"
            raise InputError(
                f"column '{name}' must {allowed} (float64 cannot hold the squares of smaller "
                f"or larger values). Got {size:.3g}: use another unit."
            )
