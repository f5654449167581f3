"""What was trained and could not be recorded: kept on disk until `make record` can."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
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
from plumbline.training.experiment import Result
from plumbline.training.exported import Exported, export
from plumbline.training.loop import Curve, Status, Trained
from plumbline.training.model import LinearModel
from plumbline.training.plan import make_plan
from plumbline.training.prediction import Prediction
from tasks.lease import exclusive
from tasks.tracking.run import Run
from tasks.tracking.store import StoreError, as_store_error, disable_retries

FILE, SUMMARY, NET = "result.json", "summary.npz", "net.pt2"
LONGEST_NAME = 60  # of a folder, in characters: file systems take 255 bytes


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
        raise StoreError(
            f"{error} What was trained is kept. To record it later: "
            f"make record FOLDER={keep(run, result)}"
        ) from error


def keep(run: Run, result: Result) -> Path:
    """Write a folder that appears when it is whole; returns its path, relative where it can be."""
    name = re.sub(r"[^\w.-]+", "-", f"{result.config.experiment}-{run.name}-{run.id[:8]}")
    unrecorded = Path(os.environ["PLUMBLINE_HOME"]) / "unrecorded"
    half = unrecorded / ".half"
    with exclusive("unrecorded"):
        shutil.rmtree(half, ignore_errors=True)  # of a process that was killed
        half.mkdir(parents=True)
        for file, content in _files(run.id, result).items():
            (half / file).write_bytes(content)
        folder = half.rename(unrecorded / name[-LONGEST_NAME:].lstrip(".-"))  # none that is hidden
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _files(run_id: str, result: Result) -> dict[str, bytes]:
    """What `read_kept` reads again, by name."""
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


def read_kept(path: str) -> tuple[str, Result]:
    """(MLflow's id of the run, its result) from a folder; the rows cannot be read again.

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
    return payload["run_id"], result


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
