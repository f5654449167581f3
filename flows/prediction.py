"""make predict: predict every row of a file. `python -m flows.prediction INPUT OUTPUT`"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from flows.command import leave, run_command
from flows.environment import prepare_environment
from regression.files import find_files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.prediction",
        description="Predict every row of CSV or Parquet files with a stored model.",
    )
    parser.add_argument("input", help="a file, a folder or a glob; columns by name, in any order")
    parser.add_argument("output", help="a .csv or .parquet file; it appears when it is whole")
    parser.add_argument(
        "--model",
        help="runs:/ID/model or models:/NAME@ALIAS; default: the model "
        "of the run that finished last",
    )
    parser.add_argument("--keep", default="", help="columns to pass through: a,b or all")
    given = parser.parse_args(arguments)
    return run_command(lambda: predict_file(given.input, given.output, given.model, given.keep))


def predict_file(source: str, output: str, model: str | None, keep: str) -> None:
    """Stream the input through the model into the output."""
    prepare_environment()
    files = find_files(source, key="INPUT")
    from regression.scoring import score
    from tasks.screen import bar
    from tasks.tracking.models import latest_model, load_predictor
    from tasks.tracking.store import check_store

    check_store()
    uri = model or latest_model()
    needed, predict = load_predictor(uri)
    kept = [name for name in keep.split(",") if name]
    with bar("Predicting rows", None) as shown:
        rows = score(files, needed, predict, Path(output), kept, shown.show)
    print(f"Predicted {rows} rows with {uri} into {output}.")


if __name__ == "__main__":
    leave(main())
