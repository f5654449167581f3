"""make deploy: deploy a schedule to a work pool. `python -m flows.deploy POOL CONFIG [key=value]`

Use it instead of `make schedule` with a Prefect server that a team shares: the server schedules the
runs, and the workers of the pool start them.
"""

import os
from collections.abc import Sequence

from flows.schedule import deployment_name, load_scheduled
from flows.support.command import CONFIG, argument, main, prepare_environment
from flows.support.server import prefect_server
from plumbline.errors import InputError


def deploy(pool: str, path: str, overrides: Sequence[str] = ()) -> None:
    """Deploy a schedule to a Prefect work pool; it applies from the next run that is due."""
    prepare_environment()
    if not os.environ.get("PREFECT_API_URL"):
        raise InputError(
            "PREFECT_API_URL must name the Prefect server that has the work pool. To retrain on "
            "this machine without such a server: make schedule."
        )
    config = load_scheduled(path, overrides)
    for key in ("notify", "model.file"):
        if any(override.startswith(key) for override in overrides):
            raise InputError(
                f"{key} must be set in {path} itself: workers read it there and never take it from "
                "the server. Got it as key=value."
            )
    with prefect_server():
        from prefect.client.orchestration import get_client

        from flows.support import deployment

        with get_client(sync_client=True) as client:
            made = deployment.deploy(client, config, deployment_name(config), pool, path)
    print(f"Deployment 'pipeline/{made.name}' is now run by the workers of '{pool}'.")


if __name__ == "__main__":
    main(deploy, argument("pool", help="a work pool of type process"), *CONFIG)
