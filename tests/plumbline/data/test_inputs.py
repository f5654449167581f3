"""What cannot work is refused before anything is started."""

import pytest

from plumbline.config.loading import validated
from plumbline.data.inputs import check_inputs
from plumbline.errors import InputError


def check(rows: int, features: int) -> None:
    data = {"kind": "synthetic", "rows": rows, "features": features}
    check_inputs(validated({"experiment": "e", "data": data}, "c.yaml"))


@pytest.mark.parametrize("rows", [1, 10**12])
def test_more_features_than_memory_holds_are_refused(rows):
    with pytest.raises(InputError, match=r"data\.features must be so few .* Got 2000000000"):
        check(rows, 2_000_000_000)


def test_many_rows_of_few_features_need_little_memory():
    check(10**12, 10)
