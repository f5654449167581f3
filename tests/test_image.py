"""The Dockerfile's steps in a fresh folder: there is no Docker here, and none is needed to see that
what it copies is enough for what it runs."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AS_ROOT = "apt-get"  # a step that begins so prepares the image's system


def steps() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, in order."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def copy(arguments: str, source: Path, folder: Path) -> None:
    *names, target = [each for each in shlex.split(arguments) if not each.startswith("--")]
    assert target == "./" or names == [target] == ["."]
    for name in names:
        if name == ".":
            shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            shutil.copy(source / name, folder)


@pytest.mark.slow
def test_the_images_steps_leave_a_folder_that_runs(tmp_path: Path) -> None:
    clone, folder = tmp_path / "clone", tmp_path / "image"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    shutil.rmtree(clone / ".git")  # as .dockerignore says
    folder.mkdir()
    ours = ("PREFECT_", "MLFLOW_", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}

    def run(command: list[str]) -> str:
        return subprocess.check_output(command, cwd=folder, env=environment, text=True)

    for instruction, arguments in steps():
        if instruction == "COPY":
            copy(arguments, clone, folder)
        elif instruction == "RUN" and not arguments.startswith(AS_ROOT):
            run(["sh", "-c", arguments])
        elif instruction == "ENV":
            assert arguments == "PREFECT_HOME=/opt/plumbline/.prefect"
            environment["PREFECT_HOME"] = str(folder / ".prefect")
        elif instruction == "CMD":
            assert "run-pipeline" in run(shlex.split(arguments.strip("[]").replace(",", " ")))
    assert "Preparing" not in run(["make", "run-pipeline"])
    assert "3.8.8" in run([".venv/bin/prefect", "version"])
