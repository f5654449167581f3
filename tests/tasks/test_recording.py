"""What is kept of a run beside its metrics."""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import torch

from plumbline.config.schema import Config
from plumbline.library import train
from tasks.recording import example_rows


def test_the_example_of_a_model_is_made_of_raw_rows_that_encode_to_the_sample(tmp_path: Path):
    """Of dates the moments, not the sines and cosines beside their parts."""
    first = datetime(2023, 11, 1)
    when = [first + timedelta(hours=31 * i, minutes=i) for i in range(400)]
    frame = pd.DataFrame({"when": when, "g": [*"abcd"] * 100, "x": range(400), "y": range(400)})
    frame.to_parquet(tmp_path / "rows.parquet")
    data = {"kind": "table", "path": str(tmp_path), "target": "y", "features": ["when", "g", "x"]}
    config = {"experiment": "e", "data": data, "training": {"optimizer": "exact"}}
    trained = train(Config.model_validate(config)).data
    assert "when.hour_sin" in trained.encoding.features
    encoded = torch.from_numpy(trained.encoding.encode(example_rows(trained)))
    assert torch.equal(encoded, trained.summary.sample.rows[:3, :-1])


def test_it_is_made_of_means_if_no_row_is_held_out(tmp_path: Path):
    when = [datetime(2023, 11, 1) + timedelta(hours=31 * i) for i in range(60)]
    frame = pd.DataFrame({"when": when, "g": [*"ab"] * 30, "y": range(60)})
    frame.to_parquet(tmp_path / "rows.parquet")
    split = {"test_fraction": 0.001, "split": {"by": "group", "column": "g"}}
    data = {"kind": "table", "path": str(tmp_path), "target": "y", "features": ["when"], **split}
    config = {"experiment": "e", "data": data, "training": {"optimizer": "exact"}}
    example = example_rows(train(Config.model_validate(config)).data)
    assert len(example) == 2
    assert example["when"].notna().all()
