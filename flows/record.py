"""make record: record a run that MLflow's store could not take. `python -m flows.record FOLDER`

This file is the command; the flow is in flows/pipeline_flow.py.
"""

from flows.support.command import argument, main, prepare_environment
from flows.support.running import run_leased, servers
from plumbline.config.running import RunsOn


def record(folder: str) -> None:
    """Record what was trained while MLflow's store was away."""
    prepare_environment()
    with servers(RunsOn()):
        from flows.pipeline_flow import record_kept
        from tasks.kept import read_kept
        from tasks.lease import only_retraining

        _, result = read_kept(folder)
        registry = result.config.registry
        with only_retraining(registry and registry.model):
            recorded = run_leased(record_kept, folder)
        print(f"Recorded as run '{recorded}'. To look at it: make ui")


if __name__ == "__main__":
    main(record, argument("folder", help="as the run that could not be recorded named it"))
