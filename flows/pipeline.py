"""make run-pipeline: run one experiment. `python -m flows.pipeline CONFIG [key=value ...]`

This file is the command; the flow is in flows/pipeline_flow.py. Mistakes in the configuration are
reported before anything slow is imported or started.
"""

from collections.abc import Sequence
from pathlib import Path

from flows.support.command import CONFIG, main, prepare_environment
from flows.support.running import run_leased, servers
from plumbline.config.loading import load_config
from plumbline.config.reference import as_text
from plumbline.config.schema import Config
from tasks.lease import only_retraining

NOT_IN_NAME = ("experiment", "data.path", "data.target")  # keys that a run's name leaves out


def run_pipeline(path: str, overrides: Sequence[str]) -> None:
    """Run one experiment."""
    pipeline(load_config(path, overrides), run_name(path, overrides))


def pipeline(config: Config, name: str = "pipeline", resumed: str | None = None) -> str:
    """Run the flow once and print where to find its record. Scripts and notebooks can call it, too.

    The Prefect server is the one that PREFECT_API_URL names, otherwise one that is started here and
    ends when this returns; the MLflow store is the one that MLFLOW_TRACKING_URI names, otherwise
    the project's mlflow.db.

    Args:
        config: the experiment, from `plumbline.load_config`.
        name: the run's name within its experiment.
        resumed: the MLflow id of an interrupted run of the same experiment to resume.

    Returns:
        The MLflow run's name.

    Raises:
        InputError: the data do not fit the configuration.
        BlockingIOError: another process is training the same registered model.
        OSError: a server or the store does not answer.
        TrainingDivergedError: the loss grew without bound.
    """
    prepare_environment()
    checked = check(config)
    config = config if resumed else checked  # it goes on only as exactly what it began as
    model = config.registry.model if config.registry else None
    with only_retraining(model), servers(config):
        from flows.pipeline_flow import pipeline as flow

        notify = config.model_dump(mode="json")["notify"]
        recorded = run_leased(flow, config, name, resumed, notify=notify)
        say_where(recorded, config.experiment)
    return recorded


def check(config: Config) -> Config:
    """Check the data and the module that a configuration names, before anything slow is started.

    Returns:
        The configuration, its `auto` values resolved by the type of the target.

    Raises:
        InputError: the first file, the inputs to predict or the user's module is wrong.
        OSError: a file cannot be read.
    """
    from plumbline.data.inputs import check_inputs

    config = check_inputs(config)
    if config.model.kind == "python":
        from plumbline.training.user_trial import check_model  # torch takes seconds

        check_model(config)
    return config


def say_where(recorded: str, experiment: str) -> None:
    """Print the recorded run's name and how to look at it."""
    print(f"Recorded as run '{recorded}' of experiment '{experiment}'. To look at it: make ui")


def run_name(path: str, overrides: Sequence[str]) -> str:
    """The name of a run within its experiment: the file's name and the overridden keys.

    User interfaces show names in narrow columns, so keys of `training` come first and without that
    prefix, and keys that only say which data set it is are left out.
    """
    changed = [each for each in overrides if each.partition("=")[0] not in NOT_IN_NAME]
    changed.sort(key=lambda each: not each.startswith("training."))
    return " ".join([Path(path).stem, *(each.removeprefix("training.") for each in changed)])


if __name__ == "__main__":
    main(run_pipeline, *CONFIG, keys=as_text(Config))
