"""Levels are counted once a file, and what is known of files stays known when one is added."""

import json

import pytest

from tests.flows.conftest import Workspace
from tests.plumbline.tools import write

pytestmark = pytest.mark.slow
SCRIPT = """
import json, shutil, sys
from flows.support.command import prepare_environment
prepare_environment()
from flows.support.server import prefect_server
from plumbline.config.schema import TableData
from prefect import flow
from tasks.reading import compress_all, source_of

data = TableData(kind="table", path="rows", target="y", categorical=["g"], max_levels=2)

@flow
def read():
    found = compress_all(source_of(data), data, "cpu")
    return found.encoding.levels["g"], found.counts["files_new"], found.counts["files_reused"]

with prefect_server():
    told = [read()]
    for name in ("few", "many"):
        shutil.move(f"{name}.csv", "rows")
        told += [read(), read()]
print(json.dumps(told))
"""


def test_a_new_file_makes_the_others_stale_only_if_the_list_of_levels_changes(
    workspace: Workspace,
) -> None:
    first = ["a"] * 6 + ["b"] * 5 + ["c"] * 4 + ["d"]
    for name, levels in {"rows/1": first, "few": ["c"] * 5, "many": ["c", "d"] * 5}.items():
        write(workspace.root / f"{name}.csv", {"g": levels, "y": [*range(len(levels))]})
    (workspace.root / "script.py").write_text(SCRIPT)
    done = workspace.run("script")
    assert done.status == 0, done.err
    before, after = ["a", "b", "(other)"], ["a", "c", "(other)"]
    expected = [[before, 1, 0], [before, 1, 1], [before, 0, 2], [after, 3, 0], [after, 0, 3]]
    assert json.loads(done.out.splitlines()[-1]) == expected
    assert "column 'g' has 4 levels: the 2 most frequent in the training rows are kept" in done.out
