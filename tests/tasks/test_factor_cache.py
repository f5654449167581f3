"""What is kept of files that were read: where, and for how long."""

import os
import time
from pathlib import Path

import pytest
from prefect.filesystems import LocalFileSystem, RemoteFileSystem
from prefect.results import ResultStore
from prefect.serializers import JSONSerializer

from plumbline.config.schema import Split
from plumbline.linear.compress import compress
from tasks.factor_cache import LONGEST_UNUSED, delete_old, stored
from tasks.parts import known
from tests.plumbline.tools import Rows, random_rows


@pytest.mark.parametrize("remote", [True, False])
def test_a_result_that_is_not_there_is_unknown_wherever_results_are_kept(remote, tmp_path):
    there = RemoteFileSystem(basepath="memory://results") if remote else None
    storage = there or LocalFileSystem(basepath=tmp_path)
    store = ResultStore(result_storage=storage, serializer=JSONSerializer())
    assert known(store, "factor-1") is None
    assert not stored(store, "factor-1")
    kept = compress(Rows({"a": random_rows(9, 2)}), "a", Split())
    store.write(kept.to_dict(), key="factor-1")
    assert known(store, "factor-1").to_dict() == kept.to_dict()
    assert stored(store, "factor-1")


def test_only_factors_that_no_run_has_used_for_long_are_deleted(tmp_path: Path) -> None:
    long_ago = time.time() - LONGEST_UNUSED - 60
    for name in ("factor-new", "factor-old", "group-new", "group-old", "another-old"):
        (tmp_path / name).touch()
        if name.endswith("old"):
            os.utime(tmp_path / name, (long_ago, long_ago))
    delete_old(ResultStore(result_storage=LocalFileSystem(basepath=tmp_path)))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"factor-new", "group-new", "another-old"}
