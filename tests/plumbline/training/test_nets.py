"""How long a net is trained, and with how many threads."""

import pytest
import torch

from plumbline.config.schema import Config
from plumbline.training.nets import threads_for, with_budget

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


def test_small_steps_have_one_thread_and_large_ones_what_there_is() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(70_000, 256):
            assert torch.get_num_threads() == 1
        with threads_for(70_000, 1_000):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
