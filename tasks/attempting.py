"""The Prefect task of one trial. Imports no mlflow, so that a Ray worker starts fast."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from prefect import task

from plumbline.config.schema import Config
from plumbline.linear.dataset import Dataset
from plumbline.threads import one_thread
from plumbline.training.experiment import Outcome, attempt
from tasks.cluster import clear_errors, connected
from tasks.workers import workers

Work = Callable[[], Outcome]
Prepare = Callable[[Config, Dataset, str], Work]


@task(task_run_name="trial {number}: {name}")
def trial(number: int, name: str, work: Work) -> Outcome:
    """Train one configuration: on a Ray worker right here, else by a process that is waited for."""
    return work()


@contextmanager
def trainers(device: str) -> Iterator[Prepare]:
    """Yields what turns an experiment into a trial's work: here, or on the Ray cluster.

    Args:
        device: where trials here compute.

    Raises:
        OSError: (the work, or the body) a process that trains died.
    """
    if connected():
        stored: dict[int, tuple[Dataset, Any]] = {}
        with clear_errors():
            yield partial(_store, stored)
        return
    with workers(device) as attempt_there:
        yield partial(partial, attempt_there)


def _store(
    stored: dict[int, tuple[Dataset, Any]], config: Config, data: Dataset, device: str
) -> Work:
    """Data goes to the cluster once for all trials that share it."""
    import ray

    if id(data) not in stored:
        stored[id(data)] = data, ray.put(data)
    return partial(_attempt, config, stored[id(data)][1], device)


def _attempt(config: Config, stored: Any, device: str) -> Outcome:
    import ray

    with one_thread():
        return attempt(config, ray.get(stored), device)
