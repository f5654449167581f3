"""make rollback: make an earlier version champion. `python -m flows.rollback MODEL [--to N]`"""

import getpass

from flows.support.command import argument, main, prepare_store


def rollback(model: str, to: str | None = None) -> None:
    """Move a registered model's alias `champion` to another version; print how to undo it."""
    prepare_store()
    from tasks.tracking.models import load_stored
    from tasks.tracking.registry import apply_promotions, known_model, registered_model

    model = known_model(model)
    with registered_model(model) as registered:
        before, after = registered.move_to(to)
        load_stored(f"models:/{model}/{after}", where="TO")
        kind = "rolled back" if after < before else "moved forward"
        who, reason = getpass.getuser(), f"from version {before or 'none'}"
        promotion = registered.write(before, after, kind, who, reason)
        apply_promotions(registered.client, model)
    print(f"'{model}' was {kind} from version {before or 'none'} to version {after}: champion now.")
    if after < before and promotion.left.strip():  # empty if another tool registered `before`
        print(
            f"The gate will not promote another version with the data and configuration of version "
            f"{before}."
        )
    if before:
        print(f"To undo it: make rollback MODEL='{model}' TO={before}")


if __name__ == "__main__":
    main(
        rollback,
        argument("model", help="the registered model's name (registry.model)"),
        argument("--to", help="a version; default: the one that was champion before"),
    )
