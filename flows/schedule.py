"""make schedule: retrain until stopped. `python -m flows.schedule CONFIG [key=value ...]`"""

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from flows.pipeline import check, read_arguments
from flows.support.command import leave, may_pass, run_command
from flows.support.environment import prepare_environment
from flows.support.persistent_server import PersistentServer
from plumbline.config.loading import load
from plumbline.config.schema import Config
from plumbline.errors import InputError, refuse
from tasks.lease import exclusive
from tasks.notifying import check_addresses
from tasks.reconciliation import reconcile
from tasks.screen import note

if TYPE_CHECKING:
    from prefect.client.schemas.objects import Deployment

    from flows.support.scheduler import Scheduler

STEP_SECONDS = 1.0
RECONCILE_SECONDS = 1.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = read_arguments(arguments, "flows.schedule", "Retrain on a schedule, until stopped.")
    return run_command(run_schedule, *given)


def run_schedule(path: str, overrides: Sequence[str]) -> None:
    """Serve the schedule that a file holds until interrupted."""
    prepare_environment()
    schedule(load_scheduled(path, overrides))


def schedule(config: Config) -> None:
    """Serve the schedule of one configuration until interrupted."""
    prepare_environment()
    with contextlib.suppress(KeyboardInterrupt), _serving(config) as (server, scheduler, check):
        _keep_stepping(server, scheduler, check)
    print("Stopped.", flush=True)


def load_scheduled(path: str, overrides: Sequence[str]) -> Config:
    """Read a configuration that has a schedule; say what would fail as things are."""
    config = load(path, overrides)
    if config.schedule is None:
        raise refuse("schedule", "a section with cron or every", None)
    if config.notify:
        check_addresses(config.notify)
    _say_what_would_fail(config)
    return config


def _say_what_would_fail(config: Config) -> None:
    """Data may be mended or still to come, so it does not keep the schedule from starting."""
    try:
        check(config)
    except InputError as error:
        note(f"as things are now, a retraining would fail: {error}")


@contextlib.contextmanager
def _serving(
    config: Config,
) -> Iterator[tuple[PersistentServer, "Scheduler", Callable[[], None]]]:
    """A server that knows the deployment, and a scheduler for it; both stop with the body.

    Beside them, what raises OSError once nothing keeps a second scheduler away.
    """
    with contextlib.ExitStack() as ending:
        name = deployment_name(config)
        refusal = f"'{name}' is scheduled by another process already. Stop that one first."
        check = ending.enter_context(exclusive(f"schedule-{name}", refusal))
        server = PersistentServer(meanwhile=_import_the_slow_parts)
        ending.callback(server.end)
        from prefect.client.orchestration import get_client

        from flows.support.deployment import deploy
        from flows.support.scheduler import Scheduler
        from tasks.tracking.run import open_store, silence_libraries
        from tasks.tracking.store import check_store

        check_store()
        client = ending.enter_context(get_client(sync_client=True))
        deployment = deploy(client, config, name)
        silence_libraries()
        open_store()  # reconcile needs it ready when there is little time
        scheduler = Scheduler(client, deployment, server, config.model_dump(mode="json")["notify"])
        ending.callback(_reconcile_in_time)
        ending.callback(scheduler.stop)
        _introduce(config, deployment, server)
        yield server, scheduler, check


def _import_the_slow_parts() -> None:
    import tasks.tracking.run  # noqa: F401


def _introduce(config: Config, deployment: "Deployment", server: PersistentServer) -> None:
    from flows.support.deployment import is_paused

    times = config.schedule
    when = f"every {times.every:g} seconds" if times.every else f"{times.cron} {times.timezone}"
    print(f"Retraining of '{deployment.name}': {when}")
    print(f"Prefect: {server.address}   pause, resume, start or cancel a run there")
    if is_paused(deployment):
        note("the schedule is paused; resume it there")
    print("Ctrl-C stops it.", flush=True)


def deployment_name(config: Config) -> str:
    """The registered model's name, else the experiment's.

    Characters that Prefect refuses become `_`; a digest of the name then keeps `a/b` and `a_b`
    apart.
    """
    name = config.registry.model if config.registry else config.experiment
    taken = re.sub(r"[/%&<>]", "_", name)
    return name if taken == name else f"{taken}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _keep_stepping(
    server: PersistentServer, scheduler: "Scheduler", check: Callable[[], None]
) -> None:
    """Step until interrupted; what may pass (a server that is away) is said once and waited for.

    Raises whatever else went wrong: a defect would only come again.
    """
    said = ""
    while True:
        check()
        try:
            server.keep()
            scheduler.step()
            said = ""
        except Exception as error:
            if not may_pass(error):
                raise
            before, said = said, f"{type(error).__name__}: {error}"
            if said != before:
                note(f"the schedule waits, because {said}")
        time.sleep(STEP_SECONDS)


def _reconcile_in_time() -> None:
    """Reconcile what the last run left; what takes too long or fails, the next start does."""

    def work() -> None:
        with contextlib.suppress(Exception):
            reconcile()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(RECONCILE_SECONDS)


if __name__ == "__main__":
    leave(main())
