"""What is kept of files that were read: where, and for how long."""

import os
from pathlib import Path

import pytest
from prefect.filesystems import LocalFileSystem, RemoteFileSystem

from plumbline.config.schema import Split
from plumbline.linear.compress import compress
from tasks.factor_cache import FactorCache
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


def test_beyond_the_bound_the_factors_used_longest_ago_go_but_none_of_this_run(tmp_path: Path):
    for used, name in enumerate(("another", "factor-a", "factor-b", "factor-c", "factor-d")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 * used, 1000 * used))
    cache = FactorCache(LocalFileSystem(basepath=tmp_path))

    def left() -> str:
        return "".join(sorted(path.name[-1] for path in tmp_path.glob("factor-*")))

    assert (cache.shrink(300), left()) == (100, "bcd")
    assert (cache.shrink(100, began=3000), left()) == (100, "cd")
    assert (cache.shrink(0), left()) == (200, "")
    assert (tmp_path / "another").exists()
