"""What was trained and could not be recorded: kept on disk until `make record` can."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.data.encoding import Encoding
from plumbline.errors import refuse
from plumbline.linear.dataset import Dataset
from plumbline.linear.newton import LogisticFit
from plumbline.linear.summary import Summary
from plumbline.training.experiment import Prediction, Result
from plumbline.training.exported import Exported, export
from plumbline.training.loop import Curve, Status, Trained
from plumbline.training.model import LinearModel
from plumbline.training.plan import make_plan
from tasks.lease import exclusive
from tasks.tracking.run import Run
from tasks.tracking.store import StoreError, as_store_error, disable_retries

FILE, SUMMARY, NET = "result.json", "summary.npz", "net.pt2"
LONGEST_NAME = 60  # of a folder, in characters: file systems take 255 bytes


@dataclass(frozen=True)
class Kept:
    """A run's results, as they wait in a folder.

    Attributes:
        folder: where they are.
        run_id: MLflow's id of the run they belong to.
        result: what `record` takes; the rows of its data cannot be read again (source is None).
    """

    folder: Path
    run_id: str
    result: Result

    def discard(self) -> None:
        """Remove the folder, once everything is recorded."""
        shutil.rmtree(self.folder)


@contextmanager
def kept_unless_recorded(run: Run, result: Result) -> Iterator[None]:
    """Keep the result on disk where the body, which records it, cannot.

    Raises:
        StoreError: it is kept; where, and how to record it.
    """
    try:
        with as_store_error():
            yield
    except OSError as error:
        disable_retries()
        name = f"{result.config.experiment}-{run.name}-{run.id[:8]}"
        name = re.sub(r"[^\w.-]+", "-", name)[-LONGEST_NAME:].lstrip(".-")  # none that is hidden
        folder = _write(name, _files(run.id, result))
        raise StoreError(
            f"{error} What was trained is kept. To record it later: make record FOLDER={folder}"
        ) from error


def _files(run_id: str, result: Result) -> dict[str, bytes]:
    """What `take_up` reads again, by name."""
    payload = {
        "run_id": run_id,
        "config": result.config.model_dump(mode="json"),
        "encoding": asdict(result.data.encoding),
        "counts": result.data.counts,
        "trained": _plain(result.trained),
        "metrics": result.metrics,
        "predictions": [asdict(each) for each in result.predictions],
    }
    files = {FILE: json.dumps(payload).encode(), SUMMARY: result.data.profiled.to_bytes()}
    if not result.trained.exact:
        files[NET] = export(result.trained.module, len(result.data.encoding.features))
    return files


def _plain(trained: Trained) -> dict[str, Any]:
    """A trained model without what is exact, which the data and the configuration give again, and
    without a net, which has a file of its own."""
    plain = {f.name: getattr(trained, f.name) for f in fields(Curve)}
    if trained.exact:
        plain["intercept"] = trained.module.intercept
        plain["weights"] = trained.module.weights.tolist()
    if fit := trained.logistic:
        tensors = {"parameters": fit.parameters.tolist(), "errors": fit.errors.tolist()}
        plain["logistic"] = vars(fit) | tensors
    return plain


def _write(name: str, files: dict[str, bytes]) -> Path:
    """Write a folder that appears when it is whole; returns its path, relative where it can be."""
    half = _unrecorded() / f".{name}"
    with exclusive("unrecorded"):
        half.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (half / file).write_bytes(content)
        folder = half.rename(_unrecorded() / name)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def discard_half_written() -> None:
    """Remove folders that a process began to write and did not finish: killed, or the disk full."""
    with exclusive("unrecorded"):
        for half in _unrecorded().glob(".*"):
            shutil.rmtree(half)


def _unrecorded() -> Path:
    return Path(os.environ["PLUMBLINE_HOME"]) / "unrecorded"


def take_up(path: str) -> Kept:
    """Read what a folder keeps.

    Raises:
        InputError: it is no such folder.
    """
    folder = Path(path)
    try:
        payload = json.loads((folder / FILE).read_text())
        summary = Summary.from_bytes((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        allowed = "a folder of .plumbline/unrecorded, as a run that could not be recorded names it"
        raise refuse("FOLDER", allowed, path) from None
    config = validated(payload["config"], path)
    encoding = Encoding.from_dict(payload["encoding"])
    result = Result(
        config=config,
        data=Dataset.kept(
            summary, encoding, payload["counts"], config.data.class_weight == "balanced"
        ),
        trained=_trained(folder, payload["trained"], summary, config),
        metrics=payload["metrics"],
        predictions=[Prediction(**each) for each in payload["predictions"]],
    )
    return Kept(folder, payload["run_id"], result)


def _trained(folder: Path, plain: dict[str, Any], summary: Summary, config: Config) -> Trained:
    """The inverse of _plain."""
    curve = {f.name: plain[f.name] for f in fields(Curve)} | {"status": Status(plain["status"])}
    if (folder / NET).exists():
        module = Exported((folder / NET).read_bytes())
        return Trained(module, **curve, logistic=_logistic(plain.get("logistic")))
    weights = torch.tensor(plain["weights"], dtype=torch.float64)
    model = LinearModel(plain["intercept"], weights)
    return Trained(model, **curve, exact=make_plan(summary, config.training))


def _logistic(plain: dict[str, Any] | None) -> LogisticFit | None:
    if plain is None:
        return None
    tuples = {name: tuple(plain[name]) for name in ("names", "classes", "losses")}
    tensors = {n: torch.tensor(plain[n], dtype=torch.float64) for n in ("parameters", "errors")}
    return LogisticFit(**{**plain, **tuples, **tensors})
