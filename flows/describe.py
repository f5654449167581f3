"""make describe: a table's columns as the pass sees them. `python -m flows.describe CONFIG`"""

from collections.abc import Sequence

from flows.support.command import CONFIG, main
from plumbline.config.loading import load
from plumbline.config.schema import TableData
from plumbline.errors import refuse


def describe(path: str, overrides: Sequence[str]) -> None:
    """Say what each column of a table holds and what becomes of it, before any training."""
    data = load(path, overrides).data
    if not isinstance(data, TableData):
        raise refuse("data.kind", "table to be described", data.kind)
    from plumbline.library import read
    from plumbline.linear import description
    from tasks.screen import note, print_columns, warn

    # every row counts, those with holes, too
    whole = {"missing": "impute", "test_fraction": 0.0, "validation_fraction": 0.0, "folds": 0}
    counted = data.model_copy(update=whole | {"log_target": False})
    found = read(counted, "cpu")
    columns = description.describe(found, counted)
    print_columns(columns, found.summary.rows)
    if data.missing != "impute" and any(column.missing for column in columns):
        note(f"values are missing, and data.missing is {data.missing}: impute makes the above")
    for each in found.source.columns.warnings:
        warn(each)


if __name__ == "__main__":
    main(describe, *CONFIG)
