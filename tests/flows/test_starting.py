"""What commands do before their flow."""

import gc
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.schedule import deployment_name
from flows.support.command import run_command
from flows.support.running import _import_what_is_needed_later, import_the_slow_parts
from plumbline.config.schema import Config
from tests.flows.conftest import ROOT

CHECK = """
import sys
from flows.pipeline import check
from plumbline.config.loading import load_config
for path in sys.argv[1:]:
    check(load_config(path))
print(sorted({"torch", "prefect", "mlflow"} & set(sys.modules)))
"""


def test_the_garbage_collector_goes_on_if_an_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flows.pipeline_flow", None)
    with pytest.raises(ImportError):
        import_the_slow_parts()
    assert gc.isenabled()
    gc.disable()
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    with pytest.raises(ImportError):
        _import_what_is_needed_later()
    assert gc.isenabled()


def test_a_configuration_and_its_files_are_checked_before_the_slow_imports() -> None:
    configs = ("configs/tutorial.yaml", "configs/norris.yaml", "configs/penguins.yaml")
    printed = subprocess.check_output([sys.executable, "-c", CHECK, *configs], cwd=ROOT, text=True)
    assert printed == "[]\n"


def test_deployments_have_names_of_their_own() -> None:
    def name(experiment: str) -> str:
        data = {"kind": "synthetic", "rows": 4}
        return deployment_name(Config.model_validate({"experiment": experiment, "data": data}))

    assert name("a_b") == "a_b"
    assert len({name("a/b"), name("a_b"), name("a%b")}) == 3
    assert "/" not in name("a/b")


def test_a_full_disk_is_said_even_if_another_error_followed_from_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logging.raiseExceptions", True)  # what the command sets ends with the test

    def fail() -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise KeyError("the server answered 500") from None

    assert run_command(fail) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert run_command(lambda: {}["a"]) == 1
    assert "KeyError" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["100%", "what?"])
def test_a_folder_whose_name_no_address_can_hold_is_refused(tmp_path: Path, name: str) -> None:
    for package in ("flows", "plumbline", "tasks"):
        shutil.copytree(ROOT / package, tmp_path / name / package)
    done = subprocess.run(
        [sys.executable, "-m", "flows.compare"],
        cwd=tmp_path / name, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"the project's folder is {tmp_path / name}, and")
    assert not (tmp_path / name / ".prefect").exists()
