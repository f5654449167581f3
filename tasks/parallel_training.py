"""Training of one model by several workers of a Ray cluster: Ray Train starts and replaces them.

Every worker is one process of torch's group, and trains as `plumbline.training.data_parallel` says.
They pass epochs, states to resume from and the result to the command through an actor, the mailbox.
"""

import math
import pickle
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from plumbline.config.schema import Config
from plumbline.errors import refuse
from plumbline.linear.dataset import Dataset
from plumbline.training import experiment
from plumbline.training.checkpoint import Checkpoint
from plumbline.training.trained import OnEpoch, Trained
from plumbline.training.user_module import load_user_file
from tasks.cluster import begin, clear_errors
from tasks.screen import note

MOST_FAILURES = 3  # of workers that are replaced
POLL_SECONDS = 0.5
STATE = "training.pt"


class Mailbox:
    """What workers leave for the command.

    Attributes:
        state: of the last checkpoint; None if there is none.
        epochs: arguments of on_epoch that were not fetched yet.
        ending: how training ended, pickled: its result, or an error of its own.
    """

    def __init__(self, state: bytes | None) -> None:
        self.state, self.epochs, self.ending = state, [], None
        self._fetched = True

    def keep(self, state: bytes) -> None:
        self.state, self._fetched = state, False

    def report(self, epoch: int, loss: float, others: dict[str, float]) -> None:
        self.epochs.append((epoch, loss, others))

    def end(self, ending: bytes) -> None:
        self.ending = self.ending or ending

    def begin(self) -> tuple[bytes | None, bool]:
        """What a worker starts from: the state, and whether nothing is left to do."""
        return self.state, self.ending is not None

    def fetch(self) -> tuple[list[tuple], bytes | None, bytes | None]:
        """The epochs and the state that are new, and the ending."""
        epochs, state = self.epochs, None if self._fetched else self.state
        self.epochs, self._fetched = [], True
        return epochs, state, self.ending


@dataclass
class SentCheckpoint(Checkpoint):
    """A worker's checkpoint, whose states go to the mailbox."""

    mailbox: Any = None

    def keep(self, content: bytes | memoryview) -> None:
        import ray

        ray.get(self.mailbox.keep.remote(bytes(content)))


def trains_on_workers(config: Config, data: Dataset) -> bool:
    """Whether several workers train the model together."""
    return bool(config.ray.workers) and experiment.steps_on_rows(config, data)


def device_of_workers(config: Config) -> str:
    """cuda if the cluster has a GPU for each worker and training.device allows it, else cpu."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0)
    allowed = config.training.device == "auto"
    return "cuda" if allowed and gpus >= (config.ray.workers or 0) else "cpu"


def train_on_workers(
    config: Config, data: Dataset, on_epoch: OnEpoch, checkpoint: Checkpoint | None
) -> Trained:
    """Train as `experiment.train` does, on `ray.workers` of the cluster together.

    Raises:
        InputError: the cluster has fewer cores, or as `experiment.train`.
        TrainingDivergedError: the loss became infinite or NaN.
        OSError: workers died more often than they are replaced.
        Exception: what training raised, as in one process; a note has its traceback.
    """
    import ray

    workers, resources = config.ray.workers, ray.cluster_resources()
    assert workers
    if (cores := int(resources.get("CPU", 0))) < workers:
        raise refuse("ray.workers", f"at most the {cores} core(s) of the cluster", workers)
    gpus = device_of_workers(config) == "cuda"
    note(f"{workers} workers train together, each on {'a GPU' if gpus else 'one core'}")
    if config.model.kind == "python":
        load_user_file(config.model)  # so that its content is sent along
    state = checkpoint.path.read_bytes() if checkpoint and checkpoint.path.exists() else None
    mailbox = ray.remote(num_cpus=0)(Mailbox).remote(state)
    every = checkpoint.every if checkpoint else math.inf
    job = {"given": [ray.put((config, data))], "every": every, "mailbox": mailbox}
    fit = ray.remote(num_cpus=0, max_retries=0)(_fit).remote(workers, gpus, job)
    last, done = 0, False
    with clear_errors():
        while not done:
            done = bool(ray.wait([fit], timeout=POLL_SECONDS)[0])
            epochs, state, ending = ray.get(mailbox.fetch.remote())
            for epoch, loss, others in epochs:
                if epoch > last:  # others came before a worker was replaced
                    on_epoch(epoch, loss, **others)
                    last = epoch
            if state and checkpoint:
                checkpoint.keep(state)
        if failure := ray.get(fit):
            raise OSError(
                f"workers died {MOST_FAILURES + 1} times, the last time with: {failure}. Look at "
                "the cluster's machines with `ray status`, then continue with `make resume`."
            )
    found = pickle.loads(ending)
    if isinstance(found, Exception):
        raise found
    return found


def _fit(workers: int, gpus: bool, job: dict[str, Any]) -> str:
    """Run Ray Train, again if workers die. It runs on the cluster, so that a command outside may
    ask for it.

    Returns:
        Why it failed the last time; empty if training ended, with a result or an error of its own.
    """
    import ray
    from ray.train import RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchTrainer

    failure = ""
    for _ in range(1 + MOST_FAILURES):
        with tempfile.TemporaryDirectory() as folder:  # nothing of use to anybody is written there
            trainer = TorchTrainer(
                _train_here,
                train_loop_config=job,
                scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
                run_config=RunConfig(storage_path=folder),
            )
            try:
                trainer.fit()
                return ""
            except WorkerGroupError as error:
                if ray.get(job["mailbox"].begin.remote())[1]:
                    return ""
                said = str(next(iter(error.worker_failures.values()))).strip().splitlines()
                failure = said[-1] if said else "no message"
    return failure


def _train_here(job: dict[str, Any]) -> None:
    """The training loop of each worker."""
    import ray
    from ray.train.torch import get_device

    begin()  # Ray Train has gone to a folder of its own
    mailbox, first = job["mailbox"], ray.train.get_context().get_world_rank() == 0
    state, ended = ray.get(mailbox.begin.remote())
    if ended:
        return

    def on_epoch(epoch: int, loss: float, **others: float) -> None:
        if first:
            mailbox.report.remote(epoch, loss, others)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, STATE)
        if state:
            path.write_bytes(state)
        every = job["every"] if first else math.inf
        checkpoint = SentCheckpoint(path, every, mailbox=mailbox)
        config, data = ray.get(job["given"][0])
        try:
            device = str(get_device())
            found = experiment.train(config, data, device, on_epoch, checkpoint=checkpoint)
            ending = pickle.dumps(experiment.sendable(found, config, data))
        except Exception as error:
            if not _tells_of_a_dead_worker(error):
                ray.get(mailbox.end.remote(_pickled(error)))
            raise  # the other workers wait for this one: Ray ends them
        if first:
            ray.get(mailbox.end.remote(ending))


def _tells_of_a_dead_worker(error: Exception) -> bool:
    """Whether an error is what torch's process group raises in a worker if another one dies."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _pickled(error: Exception) -> bytes:
    """An error with its traceback as a note; one that cannot be pickled becomes a RuntimeError."""
    error.add_note("".join(["In a worker:\n", *traceback.format_tb(error.__traceback__)]))
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return content
