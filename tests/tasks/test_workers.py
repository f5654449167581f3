"""Processes that train: how many there are."""

import os

import pytest

from tasks.workers import processes


@pytest.mark.parametrize(("device", "count"), [("cpu", os.cpu_count()), ("cuda:0", 2), ("mps", 2)])
def test_their_number_is_that_of_the_device_the_trials_use(device: str, count: int) -> None:
    assert processes(device) == count
