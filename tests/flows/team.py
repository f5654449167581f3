"""A team's servers, set up by the commands of docs/production.md as they stand there."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from flows.support.server import free_port
from tests.flows.conftest import OURS, PATIENCE_SECONDS, ROOT, Done, Workspace, eventually
from tests.plumbline.object_store import missing, object_store

PAGE = ROOT / "docs" / "production.md"
BLOCK = re.compile(r"^```sh *(?P<kind>[\w.]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SECRETS = {
    "PGPASSWORD": "secret-of-postgres",
    "AWS_ACCESS_KEY_ID": "secret-id-of-the-bucket",
    "AWS_SECRET_ACCESS_KEY": "secret-key-of-the-bucket",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "secret-of-the-admin",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret-of-flask",
    "PREFECT_SERVER_API_AUTH_STRING": "team:secret-of-prefect",
    "MLFLOW_TRACKING_PASSWORD": "secret-of-ann",
}


def why_not() -> str:
    """Why a team's servers cannot be set up here; empty where they can."""
    lacking = [name for name in ("initdb", "pg_ctl", "psql") if not _find(name)]
    if lacking:
        return f"no {', '.join(lacking)} here: apt-get install -y postgresql"
    if missing:
        return f"no {', '.join(missing)} here: make install GROUPS='servers servers-test'"
    return ""


def _find(program: str) -> str | None:
    """A program of PostgreSQL, where Debian puts the newest."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(found[-1]) if found else shutil.which(program)


def blocks(heading: str = "") -> list[tuple[str, str]]:
    """(kind, commands) of the page, or of one section of it, in order."""
    text = PAGE.read_text()
    if heading:
        _, _, text = text.partition(f"## {heading}\n")
        assert text, f"no section {heading}"
        text = text.partition("\n## ")[0]
    return [(match["kind"], match["text"]) for match in BLOCK.finditer(text)]


@dataclass
class Team:
    """Servers, and a clone that uses them.

    Attributes:
        desk: a clone whose commands have the variables of client.env.
        admin: the variables of servers.env.
        services: the servers' processes, by their command's first words.
    """

    desk: Workspace
    admin: dict[str, str]
    services: dict[str, subprocess.Popen] = field(default_factory=dict)

    def at(self, name: str) -> str:
        """The address of mlflow or prefect."""
        return f"http://127.0.0.1:{self.admin[f'{name.upper()}_PORT']}"

    def shell(self, commands: str, environment: dict[str, str] | None = None) -> str:
        """Run commands, with the servers' settings unless others are given; what they printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.desk.root, env=self.admin if environment is None else environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start(self, name: str) -> None:
        """Start mlflow or prefect with the page's command, and wait for it."""
        found = [text for kind, text in blocks() if kind == "service" and f"/{name} " in text]
        with (self.desk.root / f"{name}.log").open("a") as log:
            self.services[name] = subprocess.Popen(
                ["bash", "-c", f"exec {found[0]}"], cwd=self.desk.root, env=self.admin,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        health = f"{self.at(name)}/{'api/' if name == 'prefect' else ''}health"
        eventually(lambda: self._answers(name, health))

    def _answers(self, name: str, address: str) -> bool:
        log = self.desk.root / f"{name}.log"
        assert self.services[name].poll() is None, log.read_text()[-2000:]
        try:
            with urlopen(address, timeout=5):
                return True
        except OSError:
            return False

    def kill(self, name: str) -> None:
        """End a server and its workers at once, as a power cut would."""
        process = self.services.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @contextmanager
    def running(self, name: str, command: str) -> Iterator[None]:
        """Run one of the page's services at the desk for the length of the body."""
        with (self.desk.root / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                ["bash", "-c", command], cwd=self.desk.root, env=self.desk.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(PATIENCE_SECONDS)

    def pipeline(self, *arguments: str, **variables: str) -> subprocess.Popen:
        """Start a pipeline at the desk, with more variables."""
        return self.desk.start("flows.pipeline", "configs/tutorial.yaml", *arguments, **variables)


@contextmanager
def team_of(desk: Path) -> Iterator[Team]:
    """Set everything up in a clone as the page says; end all of it afterwards."""
    with _postgres() as (sockets, port), object_store() as address:
        admin, client = _settings(desk, sockets, port, address)
        team = Team(Workspace(desk, client), admin)
        _virtual_environment(desk)
        try:
            for heading in ("Settings and secrets", "Databases and bucket", "Start", "Users"):
                for kind, text in blocks(heading):
                    if kind == "service":
                        team.start("mlflow" if "/mlflow " in text else "prefect")
                    elif not kind:
                        new = {"NEW_PASSWORD": SECRETS["MLFLOW_TRACKING_PASSWORD"]}
                        team.shell(text, admin | new)
            yield team
        finally:
            for name in list(team.services):
                team.kill(name)


@contextmanager
def _postgres() -> Iterator[tuple[str, int]]:
    """A cluster of our own on a free port; yields its socket's folder and the port."""
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    folder = tempfile.mkdtemp(prefix="pg-", dir="/tmp")  # a socket's path must be short
    if user:
        shutil.chown(folder, user)
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    options += " -c fsync=off"
    control = [_find("pg_ctl"), "-D", f"{folder}/data", "-w", "-t", "120"]

    def run(*command: str) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(command, user=user, cwd=folder, stdout=quiet, stderr=quiet, check=True)

    # peers on the socket are trusted, as on Debian; over TCP the password counts
    run(_find("initdb"), "-D", f"{folder}/data", "-U", "postgres", "--auth-local=trust",
        "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C")  # fmt: skip
    run(*control, "-l", f"{folder}/log", "-o", options, "start")
    try:
        yield folder, port
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _settings(desk: Path, sockets: str, port: int, store: str) -> tuple[dict, dict]:
    """The page's variables with this test's values; a variable that the page lacks is an error."""
    ports = {"MLFLOW_PORT": str(free_port()), "PREFECT_PORT": str(free_port())}
    ours = {
        "ADMIN_DATABASE": f"postgresql:///postgres?host={sockets}&port={port}&user=postgres",
        "PGPORT": str(port), "AWS_ENDPOINT_URL": store, **ports, **SECRETS,
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports['MLFLOW_PORT']}",
        "PREFECT_API_URL": f"http://127.0.0.1:{ports['PREFECT_PORT']}/api",
        "PREFECT_API_AUTH_STRING": SECRETS["PREFECT_SERVER_API_AUTH_STRING"],
    }  # fmt: skip
    files = dict(blocks())
    admin, client = (_sourced(files[name], desk) for name in ("servers.env", "client.env"))
    assert set(ours) <= set(admin) | set(client)
    return tuple(
        {**_plain(), **settings, **{name: ours[name] for name in settings if name in ours}}
        for settings in (admin, client)
    )


def _plain() -> dict[str, str]:
    """This process's environment without what would point elsewhere."""
    theirs = (*OURS, "AWS_", "PG", "PLUMBLINE_")
    return {k: v for k, v in os.environ.items() if not k.startswith(theirs)}


def _sourced(text: str, folder: Path) -> dict[str, str]:
    """What a file of `export` lines sets, as bash reads it."""
    names = [word.split("=")[0] for word in shlex.split(text, comments=True) if "=" in word]
    show = "; ".join(f'printf "%s\\n" "${name}"' for name in names)
    shown = subprocess.check_output(["bash", "-c", f"{text}\n{show}"], cwd=folder, text=True)
    return dict(zip(names, shown.splitlines(), strict=True))


def _virtual_environment(desk: Path) -> None:
    """The one that runs this test, as `make` expects it: installed already."""
    here = desk / ".venv"
    here.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (here / name).symlink_to(Path(sys.prefix) / name)
    (here / ".installed").touch()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, desk)
        os.utime(desk / name, (0, 0))


def ended(process: subprocess.Popen) -> Done:
    """A command's end, awaited."""
    out, err = process.communicate(timeout=600)
    return Done(process.returncode, out, err)
