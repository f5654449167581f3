"""make schedule: retrain until stopped. `python -m flows.schedule CONFIG [key=value ...]`"""

import contextlib
import hashlib
import re
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from flows.pipeline import check
from flows.support.command import CONFIG, main, prepare_environment
from flows.support.server import UI_PORT, prefect_server
from plumbline.config.loading import load_config
from plumbline.config.reference import as_text
from plumbline.config.schema import Config
from plumbline.errors import InputError, refuse
from tasks.lease import exclusive
from tasks.notifying import check_addresses
from tasks.screen import note


def run_schedule(path: str, overrides: Sequence[str]) -> None:
    """Retrain on a schedule until stopped."""
    schedule(load_scheduled(path, overrides))


def schedule(config: Config) -> None:
    """Run the schedule of one configuration until interrupted."""
    prepare_environment()
    name = deployment_name(config)
    import_slow_parts = partial(import_module, "flows.support.scheduler")
    refusal = f"'{name}' is scheduled by another process already. Stop that one first."
    with (
        contextlib.suppress(KeyboardInterrupt),
        exclusive(f"schedule-{name}", refusal) as check,
        prefect_server(import_slow_parts, "scheduling", UI_PORT) as server,
    ):
        from flows.support.scheduler import serve

        serve(config, name, server, check)
    print("Stopped.", flush=True)


def load_scheduled(path: str, overrides: Sequence[str]) -> Config:
    """Load a configuration that has a schedule; print a note if a run would fail now."""
    config = load_config(path, overrides)
    if config.schedule is None:
        raise refuse("schedule", "a section with cron, every or on_change", None)
    if config.notify:
        check_addresses(config.notify)
    try:
        check(config)
    except InputError as error:  # the data may be corrected or arrive before the next run
        note(f"a run that started now would fail: {error}")
    return config


def deployment_name(config: Config) -> str:
    """The name of the registered model, otherwise of the experiment.

    Characters that Prefect refuses become `_`, and a digest of the name is appended, so that `a/b`
    and `a_b` stay different.
    """
    name = config.registry.model if config.registry else config.experiment
    valid = re.sub(r"[/%&<>]", "_", name)
    return name if valid == name else f"{valid}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


if __name__ == "__main__":
    main(run_schedule, *CONFIG, keys=as_text(Config))
