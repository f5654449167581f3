"""A column of a file as the pass takes it: numbers, text, dates, or the names of classes."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def as_dates(values: pa.Array) -> pa.Array:
    """Dates and times as timestamps, or as text where they are text."""
    if pa.types.is_date(values.type):
        return pc.cast(values, pa.timestamp("s"))
    return values if pa.types.is_timestamp(values.type) else as_text(values)


def as_numbers(values: pa.Array) -> np.ndarray:
    """A column as numbers, NaN where a value is missing."""
    plain = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
    if not plain or values.null_count:
        values = pc.cast(values, pa.float64(), safe=False)
    return values.to_numpy(zero_copy_only=False)


def class_names(values: pa.Array) -> pa.Array:
    """Classes as pandas prints them: True, 7 (also for 7.0), 0.5, setosa."""
    if pa.types.is_boolean(values.type):
        return pc.if_else(values, "True", "False")
    if pa.types.is_floating(values.type):
        whole = pc.fill_null(pc.equal(pc.trunc(values), values), False)
        as_integers = pc.cast(pc.if_else(whole, values, None), pa.int64(), safe=False)
        names = pc.if_else(whole, pc.cast(as_integers, pa.string()), pc.cast(values, pa.string()))
        return pc.if_else(pc.is_nan(values), None, names)
    return as_text(values)


def as_text(values: pa.Array) -> pa.Array:
    """A categorical column as text; numbers and booleans are written out."""
    return values if values.type == pa.string() else pc.cast(values, pa.string())
