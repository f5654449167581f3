"""Choose the columns of a table that are read, and how each is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from plumbline.config.schema import TableData
from plumbline.data.column_checks import (
    IDENTIFIER,
    all_dates,
    check_cut,
    header_hint,
    many_valued,
    numbers_as_text,
    read_head,
    unsuitable_columns,
    warnings_of,
)
from plumbline.data.encoding import parts_of
from plumbline.data.files import DataFile
from plumbline.data.folders import first_header
from plumbline.data.header import Dialect, Header, Kind, configured_dialect
from plumbline.errors import InputError, listed, nearest, refuse


@dataclass(frozen=True)
class Columns:
    """The columns that are read from each file.

    Attributes:
        data: the configuration section `data`.
        kinds: every column that is read, with its kind; a file without it, or with another kind,
            is an error.
        numeric: the numeric features, in order.
        dates: the columns of dates, which are converted to numbers, in order.
        categorical: each categorical feature, and a target with classes, with its levels; ():
            they are found in the pass. The level "(other)" has all values that are no other level.
        many: columns with more than data.max_levels, whose most frequent ones are chosen before
            the pass.
        left_out: columns that no key names and that are not features, with the reason.
        texts: columns of text that no key names; numbers there in another file are an error.
        ignored: columns in which files may differ: indexes, and those in data.exclude.
        whole: the names of all columns, if data.features is not given, so that all files must
            agree.
        dialect: of CSV files, as far as it is configured.
        warnings: what looks wrong in the first file, one line each.
        class_weights: the factor of a row's weight, by its class; empty: 1 for all.
        means: the value that replaces a missing number, by column; empty before it is known.
    """

    data: TableData
    kinds: dict[str, Kind]
    numeric: tuple[str, ...]
    dates: tuple[str, ...]
    categorical: dict[str, tuple[str, ...]]
    many: frozenset[str]
    left_out: dict[str, str]
    texts: frozenset[str]
    ignored: frozenset[str]
    whole: frozenset[str]
    dialect: Dialect
    warnings: tuple[str, ...]
    class_weights: dict[str, float] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)

    @property
    def has_classes(self) -> bool:
        """Whether the target has classes rather than being a number."""
        return self.data.target in self.categorical

    @property
    def features(self) -> tuple[str, ...]:
        """The raw columns that a row to predict must have."""
        levels = (name for name in self.categorical if name != self.data.target)
        return (*self.numeric, *self.dates, *levels)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numeric features and the parts of dates, in the order of a block's columns."""
        return (*self.numeric, *(part for name in self.dates for part in parts_of(name)))

    @property
    def reading(self) -> dict[str, Kind]:
        """The columns to read, with the kind to read each as.

        Categorical features, and a group column that is not a numeric feature, are read as text.
        """
        group, target = self.data.split.group, self.data.target
        as_text = {*self.categorical, group} - {target, *self.numeric}
        return {n: "text" if n in as_text else kind for n, kind in self.kinds.items()}


def choose_columns(data: TableData, files: Sequence[DataFile]) -> Columns:
    """Choose the columns of a table to read, from the head of its first file with values.

    Raises:
        InputError: the file cannot be read, a named column is missing or does not hold numbers, two
            columns have the same name, or no feature is left.
    """
    dialect = configured_dialect(data)
    header, folders = first_header(files, dialect)
    _check_names(data, header)
    kinds, weights = header.kinds, [data.weight] if data.weight else []
    taken = {data.target, *weights, data.split.group, *data.categorical, *data.exclude}
    index = tuple(name for name in kinds if name in header.index - taken)
    rest = [name for name in kinds if name not in taken.union(index)]
    wanted = [name for name in data.features or rest if name not in data.categorical]
    head = _head_to_check(header, (data.target, *weights, *wanted))
    misread = numbers_as_text({n: head[n] for n in head if n not in folders}, header)
    head |= {name: folders[name] for name in head if name in folders}
    classes = _has_classes(data, header, misread)
    dates = _dates(data, wanted, head, header)
    _check_numbers(data, classes, header, misread, dates)
    every = frozenset() if data.features else frozenset(kinds)
    certain = [name for name in wanted if name not in {*misread, *dates}]
    judged = [name for name in certain if name not in folders or kinds[name] == "unknown"]
    left_out = unsuitable_columns(head, header, judged, data.max_levels) if every else {}
    usable = [name for name in certain if name not in left_out]
    numeric = tuple(name for name in usable if kinds[name] != "text")
    levels = data.categorical if isinstance(data.categorical, dict) else {}
    names = (*data.categorical, *(name for name in usable if kinds[name] == "text"))
    used = (*numeric, *dates, *names, data.target, *weights)
    _check_used(used, names, dates, data, header, left_out | misread)
    read = (*used, data.split.group, data.split.time)
    return Columns(
        data=data,
        kinds={n: "number" if kinds[n] == "unknown" else kinds[n] for n in read if n},
        numeric=numeric,
        dates=dates,
        categorical={n: tuple(levels.get(n, ())) for n in (*names, *[data.target][:classes])},
        many=many_valued(header, head, {*names}.difference(levels), data.max_levels),
        left_out=dict.fromkeys(index if every else (), "an index") | left_out,
        texts=frozenset(n for n in every - taken | {data.target} if kinds.get(n) == "text"),
        ignored=frozenset((*index, *data.exclude)),
        whole=every,
        dialect=dialect,
        warnings=warnings_of(header, [*numeric, data.target], misread),
    )


def check_columns(columns: Columns, header: Header) -> None:
    """Raise InputError if a file's columns or kinds differ from those of the first file."""
    file, kinds = header.file, header.kinds
    ignored = (columns.ignored | header.index).difference(columns.kinds)
    expected, found = columns.whole - ignored, set(kinds) - ignored
    if columns.whole and expected != found:
        raise InputError(
            f"{file.uri}: its columns differ from the first file's: "
            f"{_differences(expected, found)}. Make the files agree, or set "
            "data.features or data.exclude."
        )
    for name, kind in columns.kinds.items():
        if name not in kinds:
            raise InputError(f"{file.uri}: has no column '{name}'. Its columns: {header.named()}.")
        names = name in columns.categorical or name == columns.data.split.group
        loose = names and kinds[name] not in ("date", "other")  # "1000" here and "10A" there
        if not loose and kinds[name] not in (kind, "unknown"):
            what = f"{kind}{' or nothing' * (kind == 'number')}"
            raise InputError(
                f"{file.uri}: column '{name}' must hold what it holds in the first file, {what}. "
                f"Got {kinds[name]} instead; data.categorical takes names and numbers."
            )
    damaged = sorted(
        name
        for name in (columns.texts - ignored).intersection(header.stored)
        if kinds[name] == "number"
    )
    if damaged:
        raise InputError(
            f"{file.uri}: column '{damaged[0]}' holds numbers, and text in the first file. "
            "Correct the file that is wrong, or list the column in data.exclude."
        )


def _head_to_check(header: Header, names: Sequence[str]) -> dict[str, pa.Array]:
    """The first values of the columns that may not be numbers."""
    kinds = header.kinds
    texts = [n for n in names if kinds[n] in ("text", "unknown") or IDENTIFIER.fullmatch(n)]
    return read_head(header, [n for n in texts if kinds[n] not in ("other", "date")])


def _dates(
    data: TableData, wanted: Sequence[str], head: Mapping[str, pa.Array], header: Header
) -> tuple[str, ...]:
    """The columns of dates. Raises InputError if one in data.dates holds no dates."""
    found = [n for n in wanted if header.kinds[n] == "date" or (n in head and all_dates(head[n]))]
    if data.dates == "auto":
        return tuple(found)
    for name in data.dates:
        if name not in found:
            raise InputError(
                f"data.dates: column '{name}' of {header.file.uri} must hold timestamps, or text "
                "whose values are all dates or times in ISO 8601."
            )
    return tuple(data.dates)


def _has_classes(data: TableData, header: Header, misread: Mapping[str, str]) -> bool:
    """Whether the target has classes; text that looks like damaged numbers does not."""
    if data.target_type != "auto":
        return data.target_type == "class"
    return header.kinds[data.target] in ("text", "boolean") and data.target not in misread


def _check_names(data: TableData, header: Header) -> None:
    """Raise InputError for a name that is not a column, or a cut that does not fit its column."""
    uri = header.file.uri
    for key, names in (
        ("target", [data.target]),
        ("features", data.features or []),
        ("categorical", data.categorical),
        ("exclude", data.exclude),
        ("dates", [] if data.dates == "auto" else data.dates),
        ("weight", [data.weight] if data.weight else []),
        ("split.column", [data.split.column] if data.split.column else []),
    ):
        for name in names:
            if name not in header.kinds:
                wrong = refuse(f"data.{key}", f"a column of {uri} ({header.named()})", name)
                raise InputError(f"{wrong}{_hint(name, header)}")
            names_wanted = key == "categorical" or (key, data.split.by) == ("split.column", "group")
            names_wanted |= (key, data.target_type) == ("target", "class")
            if names_wanted and header.kinds[name] in ("other", "date"):
                raise InputError(
                    f"data.{key}: column '{name}' of {uri} must hold names or numbers."
                )
    check_cut(data.split, header)


def _check_used(
    used: Sequence[str],
    names: Sequence[str],
    dates: Sequence[str],
    data: TableData,
    header: Header,
    left_out: Mapping[str, str],
) -> None:
    """Raise InputError if there is no feature, or a column is named like the indicator of a level,
    `column=level`, or like a part of a date, `column.year`."""
    if not {*used} - {data.target, data.weight}:
        reasons = listed(f"{name} ({why})" for name, why in left_out.items())
        raise InputError(
            f"{header.file.uri}: has no column besides the target '{data.target}' that can be a "
            f"feature. Its columns: {header.named()}.{f' Left out: {reasons}.' if left_out else ''}"
        )
    imputed = used if data.missing == "impute" else ()  # missing values have indicators, too
    levels = {*names, data.target, *imputed}
    parts = {part: column for column in dates for part in parts_of(column)}
    for name in used:
        of = next((column for column in levels if name.startswith(f"{column}=")), parts.get(name))
        if of is not None:
            what = "a part" if name in parts else "a level"
            raise InputError(
                f"{header.file.uri}: column '{name}' is named like {what} of column '{of}'. "
                "Rename it, or list it in data.exclude."
            )


def _hint(name: str, header: Header) -> str:
    if header.file.is_csv and len(header.kinds) == 1:
        return (
            " Only one column was found: is it delimited by a comma, semicolon, tab or |, and does "
            "its first line hold the names?"
        )
    if headless := header_hint(header):
        return f" {headless}."
    close = nearest(name, header.kinds)
    return f" Did you mean '{close}'?" if close else ""


def _check_numbers(
    data: TableData, classes: bool, header: Header, misread: Mapping[str, str], dates: Sequence[str]
) -> None:
    """Raise InputError for a column that must hold numbers but does not."""
    numbers = [] if classes else [("target", data.target)]
    numbers += [("weight", data.weight)] if data.weight else []
    others = {*data.categorical, *dates}
    features = [("features", n) for n in data.features or () if n not in others]
    for key, name in (*numbers, *features):
        if name in misread:
            names = {"target": "data.target_type: class", "features": "data.categorical"}
            help_ = f"; {names[key]} takes it as names" if key in names else ""
            why = f"{misread[name][0].upper()}{misread[name][1:]}{help_}."
        elif header.kinds[name] == "text" and key != "features":
            help_ = ", which is classes: leave data.target_type out, or set class"
            why = f"Got text instead{help_ if key == 'target' else ''}."
        elif header.kinds[name] in ("other", "date"):
            why = "Got neither numbers nor text instead."
        else:
            continue
        where = f"data.{key}: column '{name}' of {header.file.uri}"
        raise InputError(f"{where} must hold numbers. {why}")


def _differences(expected: frozenset[str], found: set[str]) -> str:
    gone = [f"'{n}' is missing" for n in sorted(expected - found)]
    new = [f"'{n}' is new" for n in sorted(found - expected)]
    return listed([*gone, *new])
