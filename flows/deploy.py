"""make deploy: hand a schedule to a work pool. `python -m flows.deploy POOL CONFIG [key=value ...]`

In place of `make schedule`, on a Prefect server that a team shares: the server plans the runs, the
workers of the pool start them.
"""

import argparse
import os
from collections.abc import Sequence

from flows.schedule import deployment_name, load_scheduled
from flows.support.command import leave, run_command
from flows.support.environment import prepare_environment
from flows.support.server import prefect_server
from plumbline.errors import InputError, refuse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.deploy", description="Hand a schedule to a Prefect work pool."
    )
    parser.add_argument("pool", help="a work pool of the kind process")
    parser.add_argument("path", metavar="config", help="a YAML file with a schedule")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a key")
    return run_command(deploy, **vars(parser.parse_args(arguments)))


def deploy(pool: str, path: str, overrides: Sequence[str] = ()) -> None:
    """Make or renew the deployment; the next run that is due goes by it."""
    prepare_environment()
    if not os.environ.get("PREFECT_API_URL"):
        raise InputError(
            "PREFECT_API_URL must name the server that has the work pool. For one machine without "
            "such a server: make schedule."
        )
    config = load_scheduled(path, overrides)
    if any(override.startswith("notify") for override in overrides):
        raise InputError(
            f"notify must stand in {path} itself: workers read it there, and never take it from "
            "the server. Got it as key=value."
        )
    with prefect_server():
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        from flows.support import deployment

        with get_client(sync_client=True) as client:
            try:
                client.read_work_pool(pool)
            except ObjectNotFound:
                known = "a work pool (prefect work-pool create --type process NAME)"
                raise refuse("POOL", known, pool) from None
            made = deployment.deploy(client, config, deployment_name(config), pool, path)
    print(f"Deployment 'pipeline/{made.name}' is run by the workers of '{pool}'.")


if __name__ == "__main__":
    leave(main())
