"""What makes a sweep the one that was interrupted."""

from pathlib import Path

import yaml

from plumbline.config.sweep import load_sweep
from tasks.tracking.sweep import fingerprint

RATES = {"training.learning_rate": [0.01, 0.1]}


def test_a_sweep_is_another_when_its_keys_or_its_files_change(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("a,y\n1,2\n2,4\n")
    data = {"kind": "table", "path": str(table), "target": "y"}
    path = tmp_path / "sweep.yaml"
    path.write_text(
        yaml.safe_dump({"experiment": "e", "data": data, "sweep": {"parameters": RATES}})
    )
    first = fingerprint(load_sweep(path))
    assert fingerprint(load_sweep(path)) == first
    assert fingerprint(load_sweep(path, ["training.epochs=5"])) != first
    table.write_text("a,y\n1,2\n2,4\n3,6\n")
    assert fingerprint(load_sweep(path)) != first
