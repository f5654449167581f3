"""What was read of a file is used again only if it would be read in the same way; tasks travel."""

from pathlib import Path

import pytest
from prefect.serializers import PickleSerializer

from plumbline.config.schema import Split
from tasks.compressing import compress_files, part_key
from tests.plumbline.tools import opened

AS_IT_IS = {"exclude": ["z"], "decimal": "auto"}


@pytest.mark.parametrize(
    "changed",
    [{"encoding": "cp1252"}, {"decimal": "."}, {"delimiter": ";"}, {"exclude": []},
     {"categorical": ["g"]}, {"weight": "z"}, {"limit": 1}],
)  # fmt: skip
def test_a_key_that_changes_what_is_read_has_files_read_again(
    changed: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x;z;g;y\n1;2;a;3\n4;5;b;7\n")

    def key(**data: object) -> str:
        table = opened(path, **AS_IT_IS | data)
        return part_key(table, table.files[0], Split())

    assert key() == key(encoding="UTF8") == key(limit=2)
    assert key() != key(**changed)


def test_the_task_that_reads_can_be_sent_to_a_worker() -> None:
    pickled = PickleSerializer()  # by cloudpickle, as Ray does it
    assert pickled.loads(pickled.dumps(compress_files)).name == "compress"
