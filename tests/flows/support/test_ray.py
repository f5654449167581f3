"""runner: ray gives what threads give, to the last bit, whatever becomes of workers and nodes.

A cluster starts in ten seconds or more, so almost all of this is slow; `make test-long` runs it.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from mlflow import artifacts

from flows.support.ray import cluster as cluster_for
from plumbline.config.running import RunsOn
from plumbline.errors import InputError
from plumbline.linear.summary import Summary
from tests.flows.conftest import ROOT, Workspace, eventually
from tests.flows.scheduling import Scheduled, write_file
from tests.flows.test_sweep import split, write_sweep
from tests.flows.test_system import write_files
from tests.plumbline.object_store import KEYS, bucket, needs_object_store, object_store

FILES, ROWS = 140, 40_000
DATA = {"kind": "table", "path": "ray-rows", "target": "y", "test_fraction": 0.2}
BASE = {"experiment": "ray", "data": DATA, "training": {"epochs": 20}}
# as tests start it: nothing on another network, nobody to keep out
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}
Start = Callable[..., subprocess.Popen]


needs_ray = pytest.mark.skipif(
    find_spec("prefect_ray") is None, reason="Ray is not installed: make install GROUPS=cluster"
)


@pytest.fixture(scope="module")
def threads(workspace: Workspace) -> tuple[dict, dict]:
    """What a run on threads records, and the R factors that it stores."""
    write_files(workspace.root / "ray-rows", files=1, rows=ROWS)
    first = workspace.root / "ray-rows" / "part-0000.parquet"
    for number in range(1, FILES):
        os.link(first, first.with_name(f"part-{number:04}.parquet"))
    (workspace.root / "ray.yaml").write_text(yaml.safe_dump(BASE))
    forget(workspace)
    assert workspace.pipeline("ray.yaml").status == 0
    return recorded(workspace), factors(workspace)


def forget(workspace: Workspace) -> None:
    """Empty the result store."""
    for path in storage(workspace).glob("*"):
        path.unlink()


def storage(workspace: Workspace) -> Path:
    return workspace.root / ".prefect" / "storage"


def factors(workspace: Workspace) -> dict[str, object]:
    """The R factors in every stored summary, to the bit."""
    stored = {path.name: Summary.from_bytes(path.read_bytes()) for path in whole(workspace)}
    return {
        name: [(share, factor.to_dict()) for share, factor in summary.factors.items()]
        for name, summary in stored.items()
    }


def recorded(workspace: Workspace) -> dict[str, object]:
    """What the newest run says of the data and the model."""
    run = workspace.runs("ray")[0]
    assert run.info.status == "FINISHED"
    folder = Path(artifacts.download_artifacts(run.info.artifact_uri))
    coefficients = json.loads((folder / "coefficients.json").read_text())
    metrics = {k: v for k, v in run.data.metrics.items() if not k.startswith("system/")}
    return {
        **metrics,
        "digest": run.data.tags["data_digest"],
        "losses": workspace.losses(run),
        "coefficients": coefficients,
    }


@contextmanager
def cluster(nodes: int, **environment: str) -> Iterator[dict]:
    """Several nodes with a raylet each: their address and process ids."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.support.ray_cluster", str(nodes)],
        cwd=ROOT,
        env=os.environ | ALONE | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line, "the cluster did not start"
        yield json.loads(line)
    finally:
        process.communicate()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def of_ray(workspace: Workspace) -> list[str]:
    """Processes of clusters that commands in the workspace started."""
    return [line for line in workspace.processes() if "ray" in line]


@needs_ray
@pytest.mark.long
def test_a_cluster_of_our_own_gives_the_same_bits_and_leaves_nothing(
    workspace: Workspace, threads: tuple[dict, dict]
) -> None:
    forget(workspace)
    done = workspace.pipeline("ray.yaml", "runner=ray")
    assert (done.status, done.err) == (0, "")
    assert (recorded(workspace), factors(workspace)) == threads
    assert not workspace.processes()
    again = workspace.pipeline("ray.yaml")  # what workers stored serves threads, too
    assert again.status == 0
    assert recorded(workspace)["files_reused"] == FILES


@needs_ray
@needs_object_store
@pytest.mark.long
def test_workers_read_the_objects_of_a_bucket(workspace: Workspace) -> None:
    found = []
    with object_store() as address:
        client = bucket(address)
        for number in range(20):
            rows = "".join(f"{x},{number + 2 * x}\n" for x in range(50))
            text = f"x,y\n{rows}".encode()
            client.put_object(Bucket="rows", Key=f"part-{number:02}.csv", Body=text)
        base = {**BASE, "data": {"kind": "table", "path": "s3://rows", "target": "y"}}
        base["training"] = {"epochs": 20, "standardize": True}
        (workspace.root / "bucket.yaml").write_text(yaml.safe_dump(base))
        for runner in ("threads", "ray"):
            forget(workspace)
            done = workspace.run(
                "flows.pipeline",
                "bucket.yaml",
                f"runner={runner}",
                **KEYS,
                AWS_ENDPOINT_URL=address,
            )
            assert (done.status, done.err) == (0, "")
            found.append((recorded(workspace), factors(workspace)))
    assert found[0][0]["files_new"] == 20
    assert found[1] == found[0]


@needs_ray
@pytest.mark.long
def test_a_schedule_retrains_on_ray_and_reads_new_files_only(workspace: Workspace) -> None:
    scheduled = Scheduled(workspace, "ray-schedule", files=3)
    try:
        scheduled.start("runner=ray", "schedule.every=2")
        scheduled.completed()
        write_file(scheduled.folder / "part-99.parquet", seed=99)
        scheduled.completed(more_than=2)  # the one under way may have missed the file
        assert scheduled.stop() == 0
    finally:
        scheduled.kill_all()
    eventually(lambda: not of_ray(workspace))
    runs = [run for run in workspace.runs("ray-schedule") if run.info.status == "FINISHED"]
    assert {run.data.params["runner"] for run in runs} == {"ray"}
    metrics = [run.data.metrics for run in reversed(runs)]
    counted = [(each["files_new"], each["files_reused"]) for each in metrics]
    assert counted[0] == (3, 0)
    assert counted.count((1, 3)) == 1


@needs_ray
@pytest.mark.long
def test_trials_on_ray_are_those_of_threads(
    workspace: Workspace, threads: tuple[dict, dict]
) -> None:
    varied = {"training.learning_rate": [0.01, 0.1, 90.0], "data.features": [["x0"], ["x0", "x1"]]}
    found = {}
    for runner in ("threads", "ray"):
        forget(workspace)  # the counts of new files are compared, too
        base = {**BASE, "experiment": f"sweep-{runner}", "runner": runner}
        done = workspace.run(
            "flows.sweep", write_sweep(workspace, f"sweep-{runner}.yaml", base, parameters=varied)
        )
        assert (done.status, done.err) == (0, "")
        _, trials = split(workspace.runs(base["experiment"]))
        found[runner] = {
            n: (run.info.status, run.data.metrics, workspace.losses(run))
            for n, run in trials.items()
        }
    assert found["ray"] == found["threads"]


@needs_ray
@pytest.mark.long
def test_the_logistic_optimum_on_ray_is_that_of_threads(workspace: Workspace) -> None:
    for number in range(5):
        rows = (f"{x % 7},{'ab'[(x * x + number) % 5 > 2]}\n" for x in range(200))
        path = workspace.root / "ray-classes" / f"{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("x,y\n" + "".join(rows))
    data = {**DATA, "path": "ray-classes"}
    (workspace.root / "classes.yaml").write_text(
        yaml.safe_dump({"experiment": "ray", "data": data})
    )
    found = []
    for runner in ("threads", "ray"):
        forget(workspace)
        done = workspace.pipeline("classes.yaml", f"runner={runner}")
        assert (done.status, done.err) == (0, "")
        found.append(recorded(workspace))
    assert len(found[0]["losses"]) > 3
    assert found[1] == found[0]


NET = """from torch import nn

def build(inputs, outputs):
    last = nn.utils.parametrizations.weight_norm(nn.Linear(8, outputs))
    net = nn.Sequential(nn.Linear(inputs, 8), nn.LayerNorm(8), last)
    net[0].unused = nn.Linear(3, 3)
    return net
"""


@needs_ray
@pytest.mark.long
def test_two_workers_train_what_one_process_does_though_one_of_them_is_killed(
    workspace: Workspace, started: Start
) -> None:
    write_files(workspace.root / "net-rows", files=5, rows=2_000)
    (workspace.root / "own.py").write_text(NET)
    held = {"validation_fraction": 0.1}
    base = {
        "experiment": "ray-net",
        "data": {**DATA, **held, "path": "net-rows"},
        "model": {"kind": "python", "file": "own.py"},
        "training": {"epochs": 400, "batch_size": 256, "checkpoint_every": 1, "patience": 400},
    }
    (workspace.root / "ray-net.yaml").write_text(yaml.safe_dump(base))
    assert workspace.pipeline("ray-net.yaml").status == 0
    process = started("flows.pipeline", "ray-net.yaml", "runner=ray", "ray.workers=2")
    live = lambda: workspace.losses(workspace.runs("ray-net")[0])  # noqa: E731
    eventually(lambda: len(workspace.runs("ray-net")) == 2 and len(live()) > 20)
    workers = [int(pid) for pid in pids_of("ray::RayTrainWorker")]
    os.kill(workers[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    many, one = workspace.runs("ray-net")[:2]
    expected = workspace.losses(one)
    assert [epoch for epoch, _ in workspace.losses(many)] == [*range(1, 401)]
    found = [loss for _, loss in workspace.losses(many)]
    assert found == pytest.approx([loss for _, loss in expected], rel=1e-9)
    for name in ("test_rmse", "validation_loss", "best_epoch"):
        assert many.data.metrics[name] == pytest.approx(one.data.metrics[name], rel=1e-7)


DEVICES = """import ray, yaml
from plumbline.config.loading import validated
from tasks.parallel_training import device_of_workers
ray.init("local", num_cpus=3, num_gpus=2, include_dashboard=False)
for device, workers in (("auto", 2), ("auto", 3), ("cpu", 2)):
    raw = yaml.safe_load(open("configs/bikes.yaml"))
    raw |= {"runner": "ray", "ray": {"workers": workers}, "training": {"device": device}}
    print(device_of_workers(validated(raw, "bikes")))
"""


@needs_ray
@pytest.mark.long
def test_workers_use_gpus_if_there_is_one_for_each_and_the_configuration_allows_it() -> None:
    found = subprocess.run(
        [sys.executable, "-c", DEVICES],
        cwd=ROOT,
        env=os.environ | ALONE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["cuda", "cpu", "cpu"]


FAILING = """import os
from torch import nn

class Failing(nn.Linear):
    steps = 0

    def forward(self, x):
        found = super().forward(x)
        if found.requires_grad:
            found.register_hook(self.fail)
        return found

    def fail(self, gradient):
        self.steps += 1
        if self.steps > 20:
            raise KeyError("no such state")

def build(inputs, outputs):
    with open("built.txt", "a") as file:
        print(os.getpid(), file=file)
    return Failing(inputs, outputs)
"""


@needs_ray
@pytest.mark.long
def test_an_error_of_the_training_itself_ends_it_at_once_as_in_one_process(
    workspace: Workspace,
) -> None:
    write_files(workspace.root / "failing-rows", files=4, rows=2_000)
    (workspace.root / "failing.py").write_text(FAILING)
    base = {
        "experiment": "ray-failing",
        "data": {**DATA, "path": "failing-rows"},
        "model": {"kind": "python", "file": "failing.py"},
        "training": {"epochs": 40, "batch_size": 256},
    }
    (workspace.root / "failing.yaml").write_text(yaml.safe_dump(base))
    for options, processes in (((), 1), (("runner=ray", "ray.workers=2"), 3)):
        (workspace.root / "built.txt").unlink(missing_ok=True)
        done = workspace.pipeline("failing.yaml", *options)
        assert done.status == 1
        assert done.err.splitlines()[-1] == "Failed: KeyError: 'no such state'"
        assert 'failing.py", line 16, in fail' in done.err
        built = (workspace.root / "built.txt").read_text().split()
        assert len({*built}) == processes  # the command tries the module first
    assert workspace.runs("ray-failing")[0].data.params["device"] == "cpu"


def pids_of(name: str) -> list[str]:
    """The processes whose title begins with a name."""
    titles = Path("/proc").glob("[0-9]*/cmdline")
    return [path.parent.name for path in titles if path.read_text().startswith(name)]


@needs_ray
@pytest.mark.long
@pytest.mark.parametrize("seed", [0])
def test_a_node_killed_in_mid_run_costs_its_unfinished_files_only(
    workspace: Workspace,
    threads: tuple[dict, dict],
    started: Start,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    forget(workspace)
    moment = random.Random(seed).randint(5, FILES - 40)
    print(f"seed {seed}: a node is killed once {moment} files are done")
    with cluster(nodes=2) as found:
        process = started(
            "flows.pipeline", "ray.yaml", "runner=ray", f"ray.address={found['address']}"
        )
        eventually(lambda: len(list(storage(workspace).glob("factor-*"))) >= moment)
        os.kill(found["raylets"][1], signal.SIGKILL)
        written = {path: path.stat().st_mtime_ns for path in whole(workspace)}
        _, err = process.communicate(timeout=240)
        # Ray's core has no quiet way to say that it computes a lost node's results again
        said = [line for line in err.splitlines() if "Attempting to recover" not in line]
        assert (process.returncode, said) == (0, [])
        assert {path: path.stat().st_mtime_ns for path in written} == written
        assert (recorded(workspace), factors(workspace)) == threads
        assert [alive(pid) for pid in found["raylets"]] == [True, False, True]


def whole(workspace: Workspace) -> list[Path]:
    """Stored summaries that are completely written."""
    found = []
    for path in storage(workspace).glob("factor-*"):
        try:
            Summary.from_bytes(path.read_bytes())
            found.append(path)
        except ValueError:
            continue
    return found


@needs_ray
@pytest.mark.long
def test_workers_without_memory_end_the_run_with_one_line(
    workspace: Workspace, threads: tuple[dict, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_task_oom_retries", "0")
    forget(workspace)
    with cluster(
        1, RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="100"
    ) as found:
        done = workspace.pipeline("ray.yaml", "runner=ray", f"ray.address={found['address']}")
    assert done.status == 1
    assert done.err.startswith("Failed: a Ray worker ran out of memory")
    assert len(done.err.splitlines()) == 1
    run = workspace.runs("ray")[0]
    assert run.info.status == "FAILED"
    assert "out of memory" in run.data.tags["reason"]


@needs_ray
@pytest.mark.long
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_cluster_of_our_own_ends_with_the_command_however_that_ends(
    workspace: Workspace, threads: tuple[dict, dict], started: Start, sign: signal.Signals
) -> None:
    forget(workspace)
    process = started("flows.pipeline", "ray.yaml", "runner=ray")
    eventually(lambda: list(storage(workspace).glob("factor-*")))
    assert of_ray(workspace)
    process.send_signal(sign)
    _, err = process.communicate(timeout=60)
    if sign is not signal.SIGKILL:
        assert (process.returncode, err.strip()) == (130, "Interrupted.")
    eventually(lambda: not workspace.processes())
    assert workspace.runs("ray")[0].info.status == "KILLED"


@needs_ray
@pytest.mark.long
def test_wrong_data_found_by_a_worker_is_wrong_data(workspace: Workspace) -> None:
    (workspace.root / "bad.csv").write_text("x,y\n1,2\n2,\n")
    config = {**BASE, "data": {**DATA, "path": "bad.csv"}, "experiment": "bad", "runner": "ray"}
    (workspace.root / "bad.yaml").write_text(yaml.safe_dump(config))
    done = workspace.pipeline("bad.yaml")
    assert done.status == 2
    assert "bad.csv: column 'y', row 2 must be a finite number" in done.err
    assert len(done.err.splitlines()) == 1


@needs_ray
def test_a_cluster_that_does_not_answer_is_said_before_anything_starts(
    workspace: Workspace,
) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        done = workspace.pipeline(
            "configs/tutorial.yaml", "experiment=far", "runner=ray", f"ray.address=127.0.0.1:{port}"
        )
    assert done.status == 1
    assert done.err.startswith(f"Failed: the Ray cluster at 127.0.0.1:{port} cannot be reached")
    assert len(done.err.splitlines()) == 1
    assert workspace.runs("far") == []


@pytest.mark.parametrize("wrong", ["127.0.0.1", "ray://", "http://127.0.0.1:1"])
def test_an_address_that_is_none_is_refused(workspace: Workspace, wrong: str) -> None:
    done = workspace.pipeline("configs/tutorial.yaml", "runner=ray", f"ray.address={wrong}")
    assert done.status == 2
    assert "ray.address must be null, host:port or ray://host:port" in done.err


def test_without_the_packages_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    refused = pytest.raises(InputError, match="make install GROUPS=cluster")
    with refused, cluster_for(RunsOn(runner="ray")):
        pass
    with cluster_for(RunsOn()) as found:
        assert found is None
