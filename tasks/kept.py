"""What was trained and could not be recorded: kept on disk until `make record` can."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from regression.compressed import Compressed
from regression.config import Config
from regression.config_file import validated
from regression.encoding import Encoding
from regression.errors import refuse
from regression.prediction import Predicted
from regression.prepared import Prepared
from regression.training import Trained, make_plan
from tasks.tracking.run import Run
from tasks.tracking.store import StoreError, give_up, plainly

FILE = "result.json"


@dataclass(frozen=True)
class Kept:
    """A run's results, as they wait in a folder.

    Attributes:
        folder: where they are.
        run_id: MLflow's id of the run they belong to.
        config, data, trained, metrics, predictions: what `record` takes; the rows of `data` cannot
            be read again (its source is None).
    """

    folder: Path
    run_id: str
    config: Config
    data: Prepared
    trained: Trained
    metrics: dict[str, float]
    predictions: list[Predicted]

    def discard(self) -> None:
        """Remove the folder, once everything is recorded."""
        shutil.rmtree(self.folder)


@contextmanager
def kept_unless_recorded(
    run: Run,
    config: Config,
    data: Prepared,
    trained: Trained,
    metrics: dict[str, float],
    predictions: Sequence[Predicted],
) -> Iterator[None]:
    """Keep the results on disk where the body, which records them, cannot.

    Raises:
        StoreError: they are kept; where, and how to record them.
    """
    try:
        with plainly():
            yield
    except OSError as error:
        give_up()
        told = {
            "run_id": run.id,
            "config": config.model_dump(mode="json"),
            "rows": data.rows.to_dict(),
            "encoding": asdict(data.encoding),
            "counts": data.counts,
            "trained": _plain(trained),
            "metrics": metrics,
            "predictions": [asdict(predicted) for predicted in predictions],
        }
        name = re.sub(r"[^\w.-]+", "-", f"{config.experiment}-{run.name}-{run.id[:8]}")
        folder = _write(name, told)
        raise StoreError(
            f"{error} What was trained is kept. To record it later: make record FOLDER={folder}"
        ) from error


def _plain(trained: Trained) -> dict[str, Any]:
    """A trained model without its plan, which the data and the configuration give again."""
    return {
        "names": trained.names,
        "intercept": trained.intercept,
        "weights": trained.weights.tolist(),
        "losses": trained.losses,
        "reached": trained.reached,
    }


def _write(name: str, told: dict[str, Any]) -> Path:
    """Write a folder that appears when it is whole; returns its path, relative where it can be."""
    kept = Path(os.environ["PLUMBLINE_HOME"]) / "unrecorded"
    half = kept / f".{name}"
    half.mkdir(parents=True, exist_ok=True)
    (half / FILE).write_text(json.dumps(told))
    folder = half.rename(kept / name)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def take_up(path: str) -> Kept:
    """Read what a folder keeps.

    Raises:
        InputError: it is no such folder.
    """
    folder = Path(path)
    try:
        told = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        allowed = "a folder of .plumbline/unrecorded, as a run that could not be recorded names it"
        raise refuse("FOLDER", allowed, path) from None
    config = validated(told["config"], path)
    rows = Compressed.from_dict(told["rows"])
    numeric, levels = told["encoding"]["numeric"], told["encoding"]["levels"]
    encoding = Encoding(tuple(numeric), {name: tuple(each) for name, each in levels.items()})
    given = told["trained"]
    weights = torch.tensor(given.pop("weights"), dtype=torch.float64)
    names, plan = tuple(given.pop("names")), make_plan(rows, config.training)
    return Kept(
        folder=folder,
        run_id=told["run_id"],
        config=config,
        data=Prepared(rows, encoding, None, told["counts"]),
        trained=Trained(names, weights=weights, plan=plan, **given),
        metrics=told["metrics"],
        predictions=[Predicted(**each) for each in told["predictions"]],
    )
