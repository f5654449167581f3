"""One thread of arithmetic each, and everybody's own number of threads afterwards; what is made
ahead, in order, and errors where they belong."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from plumbline.errors import InputError
from plumbline.threads import (
    in_threads,
    one_ahead,
    one_thread,
    threads_for_columns,
    threads_for_step,
)


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


def test_a_makers_error_reaches_the_consumer_after_the_items_before_it() -> None:
    def broken() -> Iterator[list[int]]:
        yield from ([number, torch.get_num_threads()] for number in range(2))
        raise InputError("row 11")

    coming = one_ahead(broken())
    assert [next(coming), next(coming)] == [[0, 1], [1, 1]]
    with pytest.raises(InputError, match="row 11"):
        next(coming)


def test_parts_come_in_order_and_no_more_than_wait_for_the_caller_are_made() -> None:
    made = []

    def make(part: str) -> str:
        made.append(part)
        return part

    parts = [f"{number}" for number in range(100)]
    coming = in_threads(make, parts)
    assert [next(coming), *coming] == parts
    begun = in_threads(make, parts)
    made.clear()
    next(begun)
    begun.close()
    assert len(made) < len(parts)


def test_small_steps_and_few_columns_have_one_thread_and_large_ones_what_there_is() -> None:
    for one in (threads_for_step(256, 70_000), threads_for_columns(1_000)):
        with one:
            assert torch.get_num_threads() == 1
    for all_of_them in (threads_for_step(1_000, 70_000), threads_for_columns(1_001)):
        with all_of_them:
            assert torch.get_num_threads() == 3
