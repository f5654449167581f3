"""The trials of a sweep, side by side: a Prefect task each, computed by a process of a pool."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from plumbline.config.schema import Config
from plumbline.config.sweep import Sweep, label
from plumbline.data.inputs import of_target
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.training.device import device_of
from plumbline.training.experiment import Outcome, Result
from plumbline.training.loop import Status
from tasks.attempting import Prepare, trainers, trial
from tasks.cluster import cores
from tasks.search import Proposal, ahead_of, search_of
from tasks.shared_data import SharedData
from tasks.tracking.sweep import RecordedTrial


@dataclass(frozen=True)
class Trial:
    """One trial and what came of it.

    Attributes:
        proposal: its number and values.
        outcome: its result, or why it has none.
        config: the experiment; None where the values make none.
        data: what it trained on; None where that could not be read.
        device: where it trained.
    """

    proposal: Proposal
    outcome: Outcome
    config: Config | None = None
    data: Dataset | None = None
    device: str = ""

    @property
    def result(self) -> Result:
        """What a trial that did not fail is recorded as."""
        made = self.outcome
        return Result(self.config, self.data, made.trained, made.metrics, made.predictions)


def run_trials(
    sweep: Sweep, data: SharedData, known: Mapping[int, RecordedTrial]
) -> Iterator[Trial]:
    """Run every trial that is not known already; yield them in the order of their numbers.

    Args:
        sweep: the base and what varies.
        data: where trials get their rows.
        known: the trials that an interrupted sweep recorded, by number.

    Raises:
        InputError: data that no parameter varies is wrong.
        OSError: a process that trains died.
    """
    search, ahead = search_of(sweep), ahead_of(sweep.search.method, cores())
    under_way: deque[tuple[Proposal, Callable[[], Trial] | None]] = deque()

    def finish() -> Iterator[Trial]:
        proposal, result = under_way.popleft()
        trial = result() if result else None
        metrics = (trial.outcome if trial else known[proposal.number]).metrics or {}
        search.tell(proposal, metrics.get(sweep.search.metric))
        if trial:
            yield trial

    with trainers(_device(sweep)) as prepare:
        for proposal in search:
            new = proposal.number not in known
            under_way.append((proposal, _start(sweep, proposal, data, prepare) if new else None))
            if len(under_way) == ahead:
                yield from finish()
        while under_way:
            yield from finish()


def _device(sweep: Sweep) -> str:
    """Where trials compute by the base's keys; the CPU if these alone make no experiment."""
    with suppress(InputError):
        return device_of(sweep.trial({}))
    return "cpu"


def _start(
    sweep: Sweep, proposal: Proposal, data: SharedData, prepare: Prepare
) -> Callable[[], Trial]:
    """Submit a trial; returns what waits for it."""
    config = None
    try:
        config = sweep.trial(proposal.values)
        device = device_of(config)
    except InputError as error:
        return _failed(proposal, config, error)
    try:
        rows = data.of(config, device)
        config = of_target(config, bool(rows.encoding.classes))
    except InputError as error:
        if not data.varies:
            raise
        return _failed(proposal, config, error)
    work = prepare(config, rows, device)
    future = trial.submit(proposal.number, label(proposal.values), work)
    return lambda: Trial(proposal, _checked(future.result(), sweep), config, rows, device)


def _failed(proposal: Proposal, config: Config | None, error: InputError) -> Callable[[], Trial]:
    trial = Trial(proposal, Outcome(Status.FAILED, [], error=str(error)), config)
    return lambda: trial


def _checked(outcome: Outcome, sweep: Sweep) -> Outcome:
    """A trial without the sweep's metric has failed, too."""
    if outcome.failed or sweep.search.metric in outcome.metrics:
        return outcome
    return Outcome(
        Status.FAILED,
        outcome.losses,
        error=f"it has no {sweep.search.metric}: no row is held out, or the value is not finite",
    )
