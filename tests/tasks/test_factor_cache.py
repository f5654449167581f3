"""What is kept of files that were read: where, and for how long."""

import os
import time
from pathlib import Path

import pytest
from prefect.filesystems import LocalFileSystem, RemoteFileSystem

from plumbline.config.schema import Split
from plumbline.linear.compress import compress
from tasks.factor_cache import LONGEST_UNUSED, FactorCache
from tests.plumbline.tools import Rows, random_rows, same_bits


@pytest.mark.parametrize("remote", [True, False])
def test_a_result_that_is_not_there_is_unknown_wherever_results_are_kept(remote, tmp_path):
    there = RemoteFileSystem(basepath="memory://results") if remote else None
    storage = there or LocalFileSystem(basepath=tmp_path)
    cache = FactorCache(storage)
    assert cache.read("factor-1") is None
    assert not cache.use("factor-1")
    kept = compress(Rows({"a": random_rows(9, 2)}), "a", Split())
    cache.write("factor-1", kept.to_bytes())
    assert same_bits(cache.read("factor-1"), kept)
    assert cache.use("factor-1")
    storage.write_path("factor-1", kept.to_bytes()[:200])
    assert cache.read("factor-1") is None


def test_only_factors_that_no_run_has_used_for_long_are_deleted(tmp_path: Path) -> None:
    long_ago = time.time() - LONGEST_UNUSED - 60
    for name in ("factor-new", "factor-old", "another-old"):
        (tmp_path / name).touch()
        if name.endswith("old"):
            os.utime(tmp_path / name, (long_ago, long_ago))
    FactorCache(LocalFileSystem(basepath=tmp_path)).delete_old()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"factor-new", "another-old"}
