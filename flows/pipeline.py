"""make run-pipeline: run one experiment. `python -m flows.pipeline CONFIG [key=value ...]`

This file is the command; the flow is in flows/pipeline_flow.py. What the configuration alone shows
to be wrong is said before anything slow is imported or started.
"""

import argparse
import gc
import threading
from collections.abc import Sequence
from pathlib import Path

from flows.support.command import leave, run_command
from flows.support.environment import prepare_environment
from flows.support.ray import check_runner, cluster, connected_to
from flows.support.server import prefect_server
from plumbline.config.loading import load
from plumbline.config.reference import as_text
from plumbline.config.schema import Config
from tasks.lease import only_retraining


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(run_pipeline, *read_arguments(arguments))


def read_arguments(
    arguments: Sequence[str] | None,
    module: str = "flows.pipeline",
    description: str = "Run one experiment.",
    keys: str = "",
) -> tuple[str, list[str]]:
    """The configuration's path and the overrides, of a command that takes both.

    Args:
        arguments: the command line's; None for this process's own.
        module: the command's.
        description: what it does, for --help.
        keys: what the file may hold, for --help; default: an experiment's keys.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Keys, each with what it may hold, its default and its meaning:\n\n"
        + (keys or as_text(Config)),
    )
    parser.add_argument("config", help="a YAML file, such as those in configs/")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="replaces a key of the file, such as training.epochs=500",
    )
    given = parser.parse_args(arguments)
    return given.config, given.overrides


def run_pipeline(path: str, overrides: Sequence[str]) -> None:
    """Run the flow once with what a file says."""
    prepare_environment()
    pipeline(load(path, overrides), run_name(path, overrides))


def pipeline(config: Config, name: str = "pipeline") -> str:
    """Run the flow once and say where to look: for scripts and notebooks as well as the command.

    Prefect's server is the one that PREFECT_API_URL names, else one of our own until this returns;
    the store is the one that MLFLOW_TRACKING_URI names, else the project's mlflow.db.

    Args:
        config: the experiment, from `plumbline.config.loading.load`.
        name: of the run within its experiment.

    Returns:
        The MLflow run's name.

    Raises:
        InputError: the data do not fit the configuration.
        BlockingIOError: another process trains the same registered model.
        OSError: a server or the store does not answer.
        TrainingDivergedError: the loss grew without bound.
    """
    prepare_environment()
    config = check(config)
    check_runner(config)
    model = config.registry.model if config.registry else None
    with (
        only_retraining(model),
        cluster(config) as found,
        prefect_server(meanwhile=import_the_slow_parts),
        connected_to(found),
    ):
        from flows.pipeline_flow import pipeline as flow
        from flows.support.running import run_leased
        from tasks.kept import discard_half_written

        discard_half_written()
        notify = config.model_dump(mode="json")["notify"]
        recorded = run_leased(flow, config, name, notify=notify)
        say_where(recorded, config.experiment)
    return recorded


def check(config: Config) -> Config:
    """Look at all that the configuration names, before anything slow.

    Returns:
        The configuration with what is auto resolved by the target's type.

    Raises:
        InputError: the first file, the inputs to predict or the user's own module is wrong.
        OSError: a file cannot be read.
    """
    from plumbline.data.inputs import check_inputs

    config = check_inputs(config)
    if config.model.kind == "python":
        from plumbline.training.user_trial import check_model  # torch takes seconds

        check_model(config)
    return config


def say_where(recorded: str, experiment: str) -> None:
    """Say where to look at a run."""
    print(f"Recorded as run '{recorded}' of experiment '{experiment}'. To look at it: make ui")


def run_name(path: str, overrides: Sequence[str]) -> str:
    """What tells a run apart within its experiment: the file, and what was changed of it.

    Keys of `training` are written without it: a name is read in narrow columns.
    """
    changed = [each for each in overrides if not each.startswith("experiment=")]
    return " ".join([Path(path).stem, *(each.removeprefix("training.") for each in changed)])


def import_the_slow_parts() -> None:
    """While the server starts on another core; what is needed last is imported beside the flow."""
    gc.disable()  # the collector would look through a million new objects again and again
    try:
        import flows.pipeline_flow  # noqa: F401
    except BaseException:
        gc.enable()
        raise
    threading.Thread(target=_import_what_is_needed_later, daemon=True).start()


def _import_what_is_needed_later() -> None:
    """torch and mlflow import these on first use: a second each, in the middle of the run."""
    try:
        import torch._dynamo  # noqa: F401

        gc.freeze()
    finally:
        gc.enable()


if __name__ == "__main__":
    leave(main())
