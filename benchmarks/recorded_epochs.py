"""The tutorial's bare loop and ours with every loss written to MLflow, in turn in one process.

`python -m benchmarks.recorded_epochs ROUNDS` prints one line of JSON: lists of seconds.
"""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable

from benchmarks.measure import ROOT
from flows.support.command import prepare_environment

prepare_environment()

from mlflow import MlflowClient, set_experiment  # noqa: E402

from benchmarks.peers import tutorial  # noqa: E402
from plumbline.config.loading import load_config  # noqa: E402
from plumbline.data.sources import Synthetic  # noqa: E402
from plumbline.linear.compress import compress  # noqa: E402
from plumbline.linear.summary import combine  # noqa: E402
from plumbline.training.loop import train_linear  # noqa: E402
from plumbline.training.plan import make_plan  # noqa: E402
from tasks.screen import print_epoch  # noqa: E402
from tasks.tracking.losses import LossLog  # noqa: E402
from tasks.tracking.store import silence_libraries  # noqa: E402

WARM = 2


class Ours:
    """Plumbline's training of the tutorial, recorded or not."""

    def __init__(self) -> None:
        silence_libraries()
        self.config = load_config(str(ROOT / "configs" / "tutorial.yaml"), [])
        self.rows = combine([compress(Synthetic(self.config.data), "synthetic", self.config.data)])
        self.client = MlflowClient()
        self.experiment = set_experiment("recorded epochs").experiment_id

    def train(self, record: Callable[[int, float], None] = lambda epoch, loss: None) -> None:
        """The plan and the loop, printing what the tutorial prints."""
        plan = make_plan(self.rows, self.config.training)

        def on_epoch(epoch: int, loss: float) -> None:
            record(epoch, loss)
            print_epoch(epoch, self.config.training.epochs, loss)

        train_linear(plan, self.config.training, "cpu", on_epoch)

    def new_run(self) -> None:
        """Create the run to record into, which is no part of the time of the epochs."""
        self.run_id = self.client.create_run(self.experiment).info.run_id

    def train_and_record(self) -> None:
        """Train, and write each loss to the database, in the run that new_run created."""
        losses = LossLog(lambda batch: self.client.log_batch(self.run_id, metrics=batch))
        with losses.sending():
            self.train(losses.add)


def timed(work: Callable[[], object]) -> float:
    """Seconds of a call whose output is discarded."""
    with contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        work()
        return time.perf_counter() - began


def main(rounds: int) -> None:
    """Take turns."""
    ours = Ours()
    jobs = {"bare": tutorial.train, "recorded": ours.train_and_record, "trained": ours.train}
    times = []
    for _ in range(WARM + rounds):
        ours.new_run()
        times.append({name: timed(job) for name, job in jobs.items()})
    print(json.dumps({name: [each[name] for each in times[WARM:]] for name in jobs}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
