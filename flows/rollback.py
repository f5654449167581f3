"""make rollback: let an earlier version be champion. `python -m flows.rollback MODEL [--to N]`"""

import argparse
import getpass
from collections.abc import Sequence

from flows.support.command import leave, run_command
from flows.support.environment import prepare_environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.rollback",
        description="Move the champion of a registered model to another version.",
    )
    parser.add_argument("model", help="the registered model's name (registry.model)")
    parser.add_argument("--to", help="a version; default: the one that was champion before")
    return run_command(rollback, **vars(parser.parse_args(arguments)))


def rollback(model: str, to: str | None = None) -> None:
    """Record the rollback, apply it, and say how to undo it."""
    prepare_environment()
    from tasks.tracking.models import load_fitted
    from tasks.tracking.registry import apply_promotions, known_model, registered_model
    from tasks.tracking.store import check_store

    check_store()
    with registered_model(known_model(model)) as registered:
        before, after = registered.move_to(to)
        load_fitted(f"models:/{model}/{after}", where="TO")
        kind = "rolled back" if after < before else "moved forward"
        registered.write(before, after, kind, getpass.getuser(), f"from version {before or 'none'}")
        apply_promotions(registered.client, model)
    print(f"'{model}' was {kind} from version {before or 'none'} to version {after}: champion now.")
    if after < before:
        print(
            f"A version of the data and configuration of version {before} will not be promoted "
            "again."
        )
    if before:
        print(f"To undo it: make rollback MODEL='{model}' TO={before}")


if __name__ == "__main__":
    leave(main())
