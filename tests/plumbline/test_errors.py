"""Messages stay readable whatever the number of names that they list."""

from pathlib import Path

import pytest

from plumbline.config.loading import validated
from plumbline.data.inputs import check_inputs
from plumbline.data.sources import open_table
from plumbline.errors import InputError
from tests.plumbline.tools import write


@pytest.mark.parametrize("inputs", [None, [[1.0]], [{"x0": 1.0}]])
def test_of_a_thousand_columns_twenty_are_listed(tmp_path: Path, inputs: list | None) -> None:
    path = write(tmp_path / "a.csv", {f"x{i}": [1.0, 2.0] for i in range(1000)} | {"y": [1, 2]})
    data = {"kind": "table", "path": str(path), "target": "y" if inputs else "z"}
    config = validated(
        {"experiment": "c", "data": data, "prediction": {"inputs": inputs or []}}, "c"
    )
    with pytest.raises(InputError, match=r" x18, x19 and 98[01] more") as raised:
        check_inputs(config) if inputs else open_table(config.data)
    assert len(str(raised.value)) < 600
