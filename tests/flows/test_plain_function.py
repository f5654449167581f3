"""flows.pipeline.pipeline is a plain function: a script or a notebook calls it, more than once."""

import pytest

from tests.flows.conftest import Workspace

SCRIPT = """
import prefect  # as a notebook may have done

from flows.pipeline import pipeline
from plumbline.config.loading import load_config

config = load_config("configs/tutorial.yaml", ["experiment=plain", "training.epochs=20"])
print(prefect.__name__, [pipeline(config, "first"), pipeline(config)])
"""

IN_A_LOOP = """
import asyncio

from flows.pipeline import pipeline
from plumbline.config.loading import load_config

config = load_config("configs/tutorial.yaml", ["experiment=loop", "training.epochs=20"])


async def main() -> str:
    return pipeline(config)


print(asyncio.run(main()))
"""

IN_THREADS = """
from threading import Thread

from flows.pipeline import pipeline
from plumbline.config.loading import load_config

config = load_config("configs/tutorial.yaml", ["experiment=threads", "training.epochs=20"])
threads = [Thread(target=pipeline, args=(config, name)) for name in ("one", "two")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_each_call_is_a_whole_run_with_a_server_of_its_own(workspace: Workspace) -> None:
    (workspace.root / "script.py").write_text(SCRIPT)
    done = workspace.run("script")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("prefect ['first")
    runs = workspace.runs("plain")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert [workspace.flow_state(run) for run in runs] == ["COMPLETED"] * 2
    assert [len(workspace.losses(run)) for run in runs] == [20, 20]
    assert workspace.processes() == []


def test_a_call_beside_an_event_loop_is_silent_and_sends_its_logs(workspace: Workspace) -> None:
    (workspace.root / "in_a_loop.py").write_text(IN_A_LOOP)
    done = workspace.run("in_a_loop")
    assert (done.status, done.err) == (0, "")
    (run,) = workspace.runs("loop")
    flow_run = run.data.tags["prefect_flow_run_id"]
    logs = workspace.prefect("SELECT message FROM log WHERE flow_run_id = ?", flow_run)
    assert any("Finished in state" in message for (message,) in logs)


@pytest.mark.slow
def test_calls_in_threads_do_not_end_each_others_server(workspace: Workspace) -> None:
    (workspace.root / "in_threads.py").write_text(IN_THREADS)
    done = workspace.run("in_threads")
    assert (done.status, done.err) == (0, "")
    runs = workspace.runs("threads")
    assert {run.info.run_name: run.info.status for run in runs} == {
        "one": "FINISHED", "two": "FINISHED"
    }  # fmt: skip
    assert [workspace.flow_state(run) for run in runs] == ["COMPLETED"] * 2
    assert workspace.processes() == []
