"""One thread of arithmetic each, and everybody's own number of threads afterwards."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from plumbline.threads import one_thread


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(work: Callable[[], list[int]]) -> list[int]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_a_thread_that_leaves_while_another_is_inside_gets_its_own_back():
    entered, left = threading.Event(), threading.Event()

    def stay_longer() -> list[int]:
        with one_thread():
            entered.set()
            left.wait()
            inside = torch.get_num_threads()
        return [inside, torch.get_num_threads()]

    with ThreadPoolExecutor(1) as pool:
        with one_thread():
            longer = pool.submit(stay_longer)
            entered.wait()
        mine = torch.get_num_threads()
        left.set()
        assert (mine, longer.result()) == (3, [1, 3])
    assert in_a_new_thread(torch.get_num_threads) == 3


def test_a_pass_within_a_pass_leaves_the_outer_one_with_one_thread():
    with one_thread():
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
