"""Processes that train: how many there are, and what ends them."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from plumbline.errors import InputError
from tasks.workers import processes, workers
from tests.flows.conftest import eventually
from tests.plumbline.training.test_experiment import config, prepared

FOR_EVER = config(epochs=1_000_000_000, learning_rate=0.1)


@pytest.mark.parametrize(("device", "count"), [("cpu", os.cpu_count()), ("cuda:0", 2), ("mps", 2)])
def test_their_number_is_that_of_the_device_the_trials_use(device: str, count: int) -> None:
    assert processes(device) == count


@contextmanager
def training() -> Iterator[Future]:
    """A trial under way that would not end."""
    with ThreadPoolExecutor() as threads, workers("cpu") as train:
        quick = train(config(epochs=5), prepared(FOR_EVER.data), "cpu")
        assert len(threads.submit(quick).result().losses) == 5
        yield threads.submit(train(FOR_EVER, prepared(FOR_EVER.data), "cpu"))


def test_leaving_the_body_ends_what_is_under_way() -> None:
    with pytest.raises(InputError), training() as under_way:
        raise InputError("of another trial")
    assert isinstance(under_way.exception(), OSError)
    eventually(lambda: not multiprocessing.active_children())


def test_a_process_that_dies_is_told_in_one_line() -> None:
    with training() as under_way:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(OSError, match="a process that trains was killed or ran out"):
            under_way.result()
