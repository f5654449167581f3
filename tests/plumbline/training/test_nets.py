"""How long a net is trained."""

import pytest

from plumbline.config.training import Training
from plumbline.training.nets import with_budget


@pytest.mark.parametrize(
    ("rows", "budget"), [(190, (32, 200, 84)), (7_000, (256, 108, 18)), (300_000, (256, 10, 16))]
)
def test_few_rows_get_more_epochs_and_more_patience(rows: int, budget: tuple) -> None:
    wanted = Training(batch_size="auto", epochs="auto", patience="auto")
    found = with_budget(wanted, rows)
    assert (found.batch_size, found.epochs, found.patience) == budget
    assert with_budget(found, 10) == found
