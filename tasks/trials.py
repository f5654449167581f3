"""The trials of a sweep in parallel: a Prefect task each, which waits for its training."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect import task

from plumbline.config.schema import Config
from plumbline.config.sweep import Sweep, Values, label
from plumbline.errors import InputError
from plumbline.linear.dataset import Dataset
from plumbline.training.device import device_of
from plumbline.training.experiment import Outcome, Result
from plumbline.training.nets import with_budget
from plumbline.training.trained import Status
from tasks.cluster import cores
from tasks.reading import compress_all, source_of
from tasks.search import ahead_of, search
from tasks.workers import Train, Work, workers

if TYPE_CHECKING:  # workers of a cluster start without mlflow
    from tasks.tracking.run import Run


@dataclass(frozen=True)
class Trial:
    """A trial and its outcome.

    Attributes:
        number: from 1.
        values: what it varies, by dotted key.
        outcome: its result, or why it has none. Once it is recorded, without its model; if an
            earlier process ran it, the validation losses are the only curve, if trials are
            compared by them.
        config: the experiment; None if the values make none, or an earlier process ran it.
        data: what it trained on; None if that could not be read, or once it is recorded.
        device: where it trained.
        run: its MLflow run, once it is recorded.
    """

    number: int
    values: Values
    outcome: Outcome
    config: Config | None = None
    data: Dataset | None = None
    device: str = ""
    run: "Run | None" = None

    @property
    def result(self) -> Result:
        """What a trial that has a model is recorded as."""
        made = self.outcome
        return Result(self.config, self.data, made.trained, made.metrics, made.predictions)


@task(task_run_name="trial {number}: {name}")
def trial(number: int, name: str, work: Work) -> Outcome:
    """Train one configuration: on a Ray worker right here, else by a process that is waited for."""
    return work()


def run_trials(
    sweep: Sweep, known: Mapping[int, Trial], again: Trial | None = None
) -> Iterator[Trial]:
    """Run every trial that is not known already; yield them in the order of their numbers.

    Args:
        sweep: the base and what varies.
        known: the recorded trials of an interrupted sweep, by number.
        again: the one of them that is trained again, because its model is not stored.

    Raises:
        InputError: data that no parameter varies is wrong.
        OSError: a process that trains died.
    """
    proposed, tell = search(sweep)
    data = SharedData(sweep)
    under_way: deque[tuple[int, Callable[[], Trial] | None]] = deque()

    def finish() -> Iterator[Trial]:
        number, finished = under_way.popleft()
        done = finished() if finished else None
        tell(number, (known.get(number) or done).outcome)
        if done:
            yield done

    with workers(_device(sweep)) as train:
        for number, (values, pruner) in enumerate(proposed, 1):
            started = None
            if again and number == again.number:
                started = _start(sweep, number, values, data, train, b"")  # its model is wanted
            elif number not in known:
                started = _start(sweep, number, values, data, train, pruner)
            under_way.append((number, started))
            if len(under_way) == ahead_of(sweep.search, cores()):
                yield from finish()
        while under_way:
            yield from finish()


def _start(
    sweep: Sweep, number: int, values: Values, data: "SharedData", train: Train, pruner: bytes
) -> Callable[[], Trial]:
    """Submit a trial; returns what waits for it."""
    config, device, rows = None, "", None
    try:
        config = sweep.trial(values)
        device = device_of(config)
        rows = data.of(config, device)
        config = config.of_target(bool(rows.encoding.classes))
        config = with_budget(config, rows.summary.train.rows)
    except InputError as error:
        if device and rows is None and not data.varies:  # no trial can have these rows
            raise
        failed = Outcome(Status.FAILED, {}, error=str(error))
        return lambda: Trial(number, values, failed, config)
    future = trial.submit(number, label(values), train(config, rows, device, pruner))
    return lambda: Trial(number, values, _checked(future.result(), sweep), config, rows, device)


def _device(sweep: Sweep) -> str:
    """The device of the base's keys; the CPU if these alone are not a complete experiment."""
    with suppress(InputError):
        return device_of(sweep.trial({}))
    return "cpu"


def _checked(outcome: Outcome, sweep: Sweep) -> Outcome:
    """A trial without the sweep's metric has failed, too."""
    if outcome.error or sweep.search.metric in outcome.metrics:
        return outcome
    metric = sweep.search.metric
    reason = f"it has no {metric}: no row is held out, its value is not finite, or the target's "
    reason += "type has other metrics (classes: train_log_loss, test_log_loss)"
    return Outcome(Status.FAILED, outcome.curves, error=reason)


class SharedData:
    """The data of a sweep's trials, read once for all whose `data` section asks for the same.

    Trials that differ in `data.features` share one pass over all features that any of them uses;
    each then leaves columns out of the R factor. If rows with missing values are dropped, which
    rows are left depends on the features, and each choice has a pass of its own.

    Attributes:
        varies: whether some parameter of the sweep belongs to `data`.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.varies = any(key.startswith("data.") for key in sweep.search.parameters)
        self._features = "data.features" in sweep.search.parameters
        self._every = sweep.varied_features
        self._known: dict[str, Dataset | InputError] = {}

    def of(self, config: Config, device: str) -> Dataset:
        """A trial's data, compressed on a device if it is not known yet.

        Raises:
            InputError: it is wrong; every time it is asked for.
        """
        data = config.data
        if self._features and data.kind == "table" and data.missing != "drop":
            data = data.model_copy(update={"features": self._every})
        key = data.model_dump_json()
        if key not in self._known:
            try:
                self._known[key] = compress_all(source_of(data), data, device)
            except InputError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, InputError):
            raise found
        return found.narrowed(config.data)
