"""The scheduler waits for what may pass and ends at a defect."""

import httpx
import pytest

from flows.support import scheduler


class Steps:
    """A server and a scheduler of which each step raises the next of some errors."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def keep(self) -> None: ...

    def step(self) -> None:
        raise self.errors.pop(0)


def test_a_schedule_waits_for_what_may_pass_and_ends_at_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scheduler, "STEP_SECONDS", 0)
    steps = Steps(OSError("away"), OSError("away"), httpx.ConnectError("refused"), KeyError("bug"))
    with pytest.raises(KeyError, match="bug"):
        scheduler._run_steps(steps, steps, lambda: None)
    assert steps.errors == []
    assert capsys.readouterr().out.count("the schedule waits") == 2
