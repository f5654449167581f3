"""make history: which version was live when, and why. `python -m flows.history MODEL`"""

import argparse
from collections.abc import Sequence

from flows.support.command import leave, run_command
from flows.support.environment import prepare_environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.history",
        description="Say which version of a registered model was live from when to when, and why.",
    )
    parser.add_argument("model", help="the registered model's name (registry.model)")
    return run_command(history, **vars(parser.parse_args(arguments)))


def history(model: str) -> None:
    """Print every version and every promotion, the oldest first."""
    prepare_environment()
    from tasks.screen import print_history
    from tasks.tracking.registry import known_model, registered_model
    from tasks.tracking.store import check_store

    check_store()
    with registered_model(known_model(model)) as registered:
        print_history(registered.name, registered.history)


if __name__ == "__main__":
    leave(main())
