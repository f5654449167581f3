"""make describe: describe a table's columns. `python -m flows.describe CONFIG [key=value ...]`"""

from collections.abc import Sequence

from flows.support.command import CONFIG, main
from plumbline.config.loading import load_config
from plumbline.config.schema import TableData
from plumbline.errors import refuse


def describe(path: str, overrides: Sequence[str]) -> None:
    """Show what each column of a table holds and how training would use it."""
    data = load_config(path, overrides).data
    if not isinstance(data, TableData):
        raise refuse("data.kind", "table to be described", data.kind)
    from plumbline.library import read
    from plumbline.linear import description
    from tasks.screen import note, print_columns, warn

    # every row with a target counts, also those with missing values
    whole = {"missing": "impute", "test_fraction": 0.0, "validation_fraction": 0.0, "folds": 0}
    counted = data.model_copy(update=whole | {"log_target": False})
    found = read(counted, "cpu")
    columns = description.describe(found, counted)
    dropped, unweighted = found.summary.dropped, " or weight" * bool(data.weight)
    without = f" ({dropped:,} more have no target{unweighted})" if dropped else ""
    print_columns(columns, f"{found.summary.rows:,} rows{without}")
    if data.missing != "impute" and any(column.missing for column in columns):
        note(
            f"values are missing, and data.missing is {data.missing}. The table above shows the "
            "columns with data.missing=impute"
        )
    for each in found.source.columns.warnings:
        warn(each)


if __name__ == "__main__":
    main(describe, *CONFIG)
