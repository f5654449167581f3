"""make history: which version was live when, and why. `python -m flows.history MODEL`"""

from flows.support.command import argument, main, prepare_store


def history(model: str = "") -> None:
    """Show which version of a registered model was live from when to when, and why."""
    prepare_store()
    from tasks.screen import print_history
    from tasks.tracking.registry import known_model, registered_model

    with registered_model(known_model(model)) as registered:
        print_history(registered.name, registered.history)


if __name__ == "__main__":
    main(
        history,
        argument(
            "model",
            nargs="?",
            default="",
            help="the registered model's name (registry.model); default: the only one",
        ),
    )
