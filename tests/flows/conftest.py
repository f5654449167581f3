"""A copy of the project in an empty folder, and commands that run there as a user's would."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.support.command import DEFAULTS
from flows.support.server import prefect_server

if TYPE_CHECKING:
    from tests.flows.team import Team

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("flows", "tasks", "plumbline", "configs", "data", "models")
OURS = ("PREFECT_", "MLFLOW_")
PATIENCE_SECONDS = 240


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Workspace:
    """A clone with its own databases, or with the servers that an environment names."""

    root: Path
    servers: dict[str, str] | None = None

    @property
    def client(self) -> MlflowClient:
        """MLflow, seen from outside the project."""
        own = f"sqlite:///{self.root / 'mlflow.db'}"
        return MlflowClient((self.servers or {}).get("MLFLOW_TRACKING_URI", own))

    @property
    def environment(self) -> dict[str, str]:
        """This process's without settings of Prefect and MLflow, or what names the servers."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        return own if self.servers is None else self.servers

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen:
        """Start `python -m ARGUMENTS` there, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.root,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **variables: str) -> Done:
        """Run `python -m ARGUMENTS` there to its end."""
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=180)
        return Done(process.returncode, out, err)

    def pipeline(self, config: str, *overrides: str) -> Done:
        """Run one experiment."""
        return self.run("flows.pipeline", config, *overrides)

    def runs(self, experiment: str) -> list[Run]:
        """The experiment's runs, the newest first."""
        found = self.client.get_experiment_by_name(experiment)
        return self.client.search_runs([found.experiment_id]) if found else []

    def losses(self, run: Run) -> list[tuple[int, float]]:
        """(epoch, loss) as recorded."""
        history = self.client.get_metric_history(run.info.run_id, "loss")
        return [(metric.step, metric.value) for metric in history]

    def flow_state(self, run: Run) -> str:
        """What Prefect says of the flow run that a run names."""
        flow_run = run.data.tags["prefect_flow_run_id"]
        return self.prefect("SELECT state_type FROM flow_run WHERE id = ?", flow_run)[0][0]

    def prefect(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Ask Prefect's database."""
        path = self.root / ".prefect" / "prefect.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        with connection:
            return connection.execute(query, values).fetchall()

    def processes(self) -> list[str]:
        """Command lines of the processes that run in this folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if Path(os.readlink(entry / "cwd")) == self.root:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


def eventually(what: Callable[[], Any]) -> Any:
    """The first true value of a function, asked again and again.

    Its patience is for loaded machines: there a command's first start alone has taken a minute.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE_SECONDS} seconds: {what}")


@contextlib.contextmanager
def cloned(root: Path) -> Iterator[Workspace]:
    """A clone in an empty folder; at its end nothing runs there."""
    clone_into(root)
    yield Workspace(root)
    if sys.platform == "linux":
        eventually(lambda: not Workspace(root).processes())


def clone_into(root: Path) -> None:
    """Copy what runs into an empty folder and commit it there."""
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", "prefect.toml"):
        shutil.copy(ROOT / name, root)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "clone"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
        subprocess.run(["git", *identity, *command], cwd=root, check=True)
    # what tests write there is no change of the code, whichever of them comes first
    (root / ".git" / "info" / "exclude").write_text("*\n")


@pytest.fixture(autouse=True)
def _no_tracking_uri_is_left() -> Iterator[None]:
    """What a test told MLflow would win over the environment of the tests after it."""
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Team"]:
    """Servers that a team shares, set up once: PostgreSQL, a bucket, MLflow and Prefect."""
    from tests.flows.team import SECRETS, team_of, why_not

    if reason := why_not():
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("team").resolve()
    clone_into(root)
    with pytest.MonkeyPatch.context() as patch, team_of(root) as team:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["MLFLOW_TRACKING_PASSWORD"])
        yield team


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One clone for all tests of a session: a new Prefect database takes ten seconds to make."""
    with cloned(tmp_path_factory.mktemp("clone").resolve()) as made:
        yield made


@pytest.fixture(scope="session")
def workspace(checkout: Workspace) -> Workspace:
    """Where a module's commands run, each with a Prefect server of its own."""
    return checkout


@pytest.fixture(scope="session")
def served(checkout: Workspace) -> Iterator[Workspace]:
    """The same clone with a Prefect server that commands share: starting one each takes a third of
    their time. A module whose tests need no server of their own returns it as its workspace."""
    home, names = checkout.root / ".prefect", ("PREFECT_API_URL", "PREFECT_UI_URL")
    home.mkdir(exist_ok=True)
    with contextlib.ExitStack() as ending:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**DEFAULTS, "PREFECT_HOME": str(home)}.items():
                patch.setenv(name, value)
            for name in names:
                patch.delenv(name, raising=False)
            ending.enter_context(prefect_server())
            shared = {name: os.environ.pop(name) for name in names}
        yield Workspace(checkout.root, checkout.environment | shared)


@pytest.fixture(scope="session")
def tutorial(checkout: Workspace) -> tuple[Done, Run]:
    """The tutorial, run once."""
    done = checkout.pipeline("configs/tutorial.yaml")
    return done, checkout.runs("tutorial")[0]


def run_pair(workspace: Workspace) -> tuple[Run, Run]:
    """Two runs of an experiment of their own: the tutorial, and with another rate and length."""
    changed = ("training.learning_rate=0.05", "training.epochs=500")
    for overrides in ((), changed):
        done = workspace.pipeline("configs/tutorial.yaml", "experiment=pair", *overrides)
        assert done.status == 0, done.err
    second, first = workspace.runs("pair")
    return first, second


@pytest.fixture(scope="session")
def pair(served: Workspace) -> tuple[Run, Run]:
    """Two runs to compare."""
    return run_pair(served)


@pytest.fixture
def started(workspace: Workspace) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start commands that are ended with the test."""
    processes = []

    def start(*arguments: str, **variables: str) -> subprocess.Popen:
        processes.append(workspace.start(*arguments, **variables))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
