"""Pictures are drawn by a process beside the body."""

import os
from pathlib import Path

import pytest

from tasks.pictures import draw_beside


def children() -> set[str]:
    """The processes that this one started and has not waited for."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_the_process_that_draws_is_gone_if_the_body_fails(tmp_path: Path) -> None:
    before, beside = children(), set()

    def fail() -> None:
        with draw_beside({}, tmp_path):
            beside.update(children() - before)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(beside) == 1
    assert not beside & children()


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    def draw() -> None:
        with draw_beside({}, tmp_path):
            pass

    with pytest.raises(RuntimeError, match=r"(?s)could not be drawn.*KeyError"):
        draw()
