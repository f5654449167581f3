"""How long a net is trained, and with how many threads."""

import pytest

from plumbline.config.schema import Config
from plumbline.training.nets import with_budget

NET = {
    "experiment": "e",
    "data": {"kind": "synthetic", "rows": 10},
    "model": {"kind": "mlp"},
}


@pytest.mark.parametrize(
    ("rows", "budget"), [(190, (32, 200, 84)), (7_000, (256, 108, 18)), (300_000, (256, 10, 16))]
)
def test_few_rows_get_more_epochs_and_more_patience(rows: int, budget: tuple) -> None:
    found = with_budget(Config.model_validate(NET), rows)
    training = found.training
    assert (training.batch_size, training.epochs, training.patience) == budget
    assert with_budget(found, 10) == found
