"""What commands do before their flow."""

import gc
import sys

import pytest

from flows.pipeline import _import_what_is_needed_later, import_the_slow_parts
from flows.schedule import deployment_name
from regression.config import Config


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


def test_deployments_have_names_of_their_own() -> None:
    def name(experiment: str) -> str:
        data = {"kind": "synthetic", "rows": 4}
        return deployment_name(Config.model_validate({"experiment": experiment, "data": data}))

    assert name("a_b") == "a_b"
    assert len({name("a/b"), name("a_b"), name("a%b")}) == 3
    assert "/" not in name("a/b")
