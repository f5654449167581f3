"""make predict: predict every row of a file. `python -m flows.predict INPUT OUTPUT`"""

from flows.support.command import argument, main, prepare_store
from plumbline.data.files import find_files
from plumbline.errors import InputError, refuse
from plumbline.training.output import check_output


def predict(
    input: str, output: str, model: str | None = None, keep: str = "", on_missing: str = "error"
) -> None:
    """Predict every row of files with a stored model."""
    if not input:
        raise InputError(
            "INPUT must name a file, a folder or a glob of files to predict. "
            "Give it: make predict INPUT=rows.csv OUTPUT=out.csv."
        )
    if on_missing not in ("error", "null"):
        raise refuse("ON_MISSING", "error or null", on_missing)
    files = find_files(input, key="INPUT")
    check_output(output, input, files)
    prepare_store()
    from plumbline.training.batch_prediction import predict_files
    from tasks.screen import bar
    from tasks.tracking.models import latest_model, load_predictor

    uri = model or latest_model()
    encoding, predict_rows = load_predictor(uri)
    kept = [*dict.fromkeys(name.strip() for name in keep.split(",") if name.strip())]
    with bar("Predicting rows", None) as shown:
        done = predict_files(files, encoding, predict_rows, output, kept, on_missing, shown)
    print(f"Predicted {done.rows} rows with {uri} into {output}.")
    if done.empty:
        print(f"Rows without a prediction: {done.empty}. The first: {done.first}.")


if __name__ == "__main__":
    main(
        predict,
        argument("input", help="a file, a folder or a glob; columns by name, in any order"),
        argument("output", help="a .csv or .parquet file; it appears once it is complete"),
        argument(
            "--model",
            help="runs:/ID/model or models:/NAME@ALIAS; default: the model of the run that "
            "finished last",
        ),
        argument("--keep", default="", help="columns to pass through: a,b or all"),
        argument(
            "--on-missing",
            default="error",
            help="what to do with a row that has a missing or infinite number or an unknown level: "
            "error, or null (an empty prediction for that row)",
        ),
    )
