"""What training begins with: drawn weights, or those of the champion."""

from plumbline.config.schema import Config
from plumbline.linear.dataset import Dataset
from plumbline.training.start import Start
from tasks.screen import note
from tasks.tracking.models import DamagedModelError, load_start
from tasks.tracking.registry import incumbent_of
from tasks.tracking.run import Run

STARTED_FROM, FRESH = "started_from", "fresh"  # a tag, and what it says if there is no such model


def find_start(run: Run, config: Config, data: Dataset) -> Start | None:
    """The champion, if `training.start` asks for it and this training can begin with it; otherwise
    the reason is a note. The run's tag `started_from` names it; a run that is resumed takes what
    its tag names, since its checkpoint has weights in that model's scales.

    Raises:
        StoreError: the store does not deliver it now.
        InputError: it was deleted meanwhile, or, of a run that is resumed, damaged.
    """
    if config.training.start == "fresh":
        return None
    if known := run.client.get_run(run.id).data.tags.get(STARTED_FROM):
        return None if known == FRESH else load_start(known)
    name, start, uri = config.registry.model, None, FRESH
    if champion := incumbent_of(name):
        uri = f"models:/{name}/{champion.version}"
        start, why = _load(uri, config, data)
    else:
        why = f"'{name}' has no champion"
    note(f"training goes on from {uri}" if start else f"training starts fresh: {why}")
    run.log(tags={STARTED_FROM: uri if start else FRESH})
    return start


def _load(uri: str, config: Config, data: Dataset) -> tuple[Start | None, str]:
    """A stored model if a training can begin with it, and why not."""
    try:
        start = load_start(uri)
        why = start.obstacle(config, data)
    except DamagedModelError as error:
        why = error.reason
    return (None, f"{uri} does not fit, since {why}") if why else (start, "")
