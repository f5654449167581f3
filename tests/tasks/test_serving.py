"""REST prediction: every form of request that MLflow documents, and one line for what is wrong."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
import torch
import uvicorn
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from torch import nn

from flows.support.server import listen
from flows.support.web import Guard
from plumbline.data.encoding import Encoding
from plumbline.linear.problem import Standardizer
from plumbline.training.model import RawModel
from tasks.tracking.artifact import ModelToLog, save_model
from tasks.tracking.serving import MAX_BODY_BYTES, scoring_app

JSON, CSV = "application/json", "text/csv"
MISSING = "a missing value (empty or NaN)"
Ask = Callable[..., tuple[int, dict]]


def saved(folder: Path, encoding: Encoding, named: bool, net: bool = False) -> Path:
    """A stored model: 1 + 10 · the first feature + 100 · the second + …; as a line or as a net."""
    count = len(encoding.features)
    module = nn.Linear(count, 1, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[10.0 ** (i + 1) for i in range(count)]]))
        module.bias.fill_(1.0)
    if net:
        net = nn.Sequential(nn.Identity(), module, nn.Dropout(0.9)).eval()
        module = RawModel(net, Standardizer(torch.zeros(count), torch.ones(count)), None)
    example = {name: [1.0, 2.0] for name in encoding.numbers}
    example |= {name: pd.to_datetime(["2024-01-01", None]) for name in encoding.dates}
    example |= {name: [levels[0], levels[-1]] for name, levels in encoding.levels.items()}
    trained = ModelToLog(module, encoding, named, pd.DataFrame(example))
    save_model(str(folder), Model(), trained)
    return folder


def serving(folder: Path) -> Iterator[Ask]:
    """A real server of a stored model; asks it and returns (status, JSON)."""
    app = Guard(scoring_app(mlflow.pyfunc.load_model(str(folder))))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with listen() as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=[[listener]], daemon=True)
        thread.start()

        def ask(body: object, kind: str | None = JSON, **headers: str) -> tuple[int, dict]:
            sent = json.dumps(body) if isinstance(body, dict | list) else body
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            named |= {"Content-Type": kind} if kind else {}
            connection = HTTPConnection("127.0.0.1", port, timeout=120)
            connection.request("POST", "/invocations", sent, named)
            answer = connection.getresponse()
            text = answer.read().decode()
            told = answer.headers.get_content_type() == JSON
            return answer.status, json.loads(text) if told else {"message": text}

        yield ask
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module", params=["line", "net"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a, b and the levels u, v, true, 2 of g, with an interval."""
    encoding = Encoding(("a", "b"), {"g": ("u", "v", "true", "2")}, half_width=2.5)
    folder = tmp_path_factory.mktemp("table") / "model"
    return saved(folder, encoding, named=True, net=request.param == "net")


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of arrays (n, 2)."""
    return saved(
        tmp_path_factory.mktemp("array") / "model", Encoding(("x0", "x1"), {}), named=False
    )


@pytest.fixture(scope="module")
def ask(table: Path) -> Iterator[Ask]:
    """Asks the table's server."""
    yield from serving(table)


@pytest.fixture(scope="module")
def ask_array(array: Path) -> Iterator[Ask]:
    """Asks the array's server."""
    yield from serving(array)


ROWS = [{"a": 1, "b": 2, "g": "u"}, {"a": 3, "b": 4.5, "g": "v"}]
PREDICTED = [[211.0], [1481.0]]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"dataframe_split": {"columns": ["g", "b", "a"],
          "data": [["u", 2, 1], ["v", 4.5, 3]]}}, JSON),
        ({"dataframe_records": [{**row, "more": "ignored"} for row in ROWS]}, JSON),
        ({"inputs": ROWS}, JSON),
        ({"inputs": {"a": [1, 3], "b": [2, 4.5], "g": ["u", "v"]}}, JSON),
        ({"instances": ROWS}, JSON),
        ("a,b,g\n1,2,u\n3,4.5,v\n", CSV),
        ("g,more,b,a\nu,x,2,1\nv,x,4.5,3\n", f"{CSV}; charset=utf-8"),
    ],
    ids=["split", "records", "inputs by row", "inputs by column", "instances", "csv", "csv mixed"],
)  # fmt: skip
def test_every_form_of_a_request_is_answered_integers_too(ask: Ask, body: object, kind: str):
    assert ask(body, kind) == (200, {"predictions": PREDICTED})


def test_an_interval_is_answered_on_request(ask: Ask) -> None:
    answer = ask({"inputs": ROWS, "params": {"interval": True}}, JSON)
    expected = [{"prediction": p, "lower": p - 2.5, "upper": p + 2.5} for (p,) in PREDICTED]
    assert answer == (200, {"predictions": expected})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"inputs": [[1, 2], [3, 4.5]]}, JSON),
        ({"instances": [[1, 2], [3, 4.5]]}, JSON),
        ({"dataframe_split": {"data": [[1, 2], [3, 4.5]]}}, JSON),
        ("x0,x1\n1,2\n3,4.5\n", CSV),
    ],
    ids=["inputs", "instances", "split", "csv"],
)
def test_arrays_are_answered_as_well(ask_array: Ask, body: object, kind: str):
    assert ask_array(body, kind) == (200, {"predictions": [[211.0], [481.0]]})


@pytest.mark.parametrize(("level", "effect"), [(True, 1e4), (2, 1e5), (2.0, 1e5), ("2", 1e5)])
def test_a_level_may_be_what_json_makes_of_it(ask: Ask, level: object, effect: float):
    status, answer = ask({"dataframe_records": [{"a": 0, "b": 0, "g": level}]})
    assert (status, answer) == (200, {"predictions": [[1 + effect]]})


def record(**values: object) -> dict:
    return {"dataframe_records": [{"a": 1, "b": 2, "g": "u"} | values]}


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (record(a=None), JSON, f"column 'a' must be a finite number. Got {MISSING} instead."),
        (record(a=float("inf")), JSON, "column 'a' must be a finite number. Got inf instead."),
        (record(a="abc"), JSON, "Failed to convert column a to type 'float64'"),
        (record(a=[1, 2]), JSON, "Failed to convert column a to type 'float64'"),
        (record(a=10**400), JSON, "Failed to convert column a to type 'float64'"),
        (record(g="z"), JSON, "column 'g' must be one of u, v, true, 2. Got 'z' instead."),
        (record(g=None), JSON, f"one of u, v, true, 2. Got {MISSING} instead."),
        ({"dataframe_records": [{"a": 1, "g": "u"}]}, JSON, "Model is missing inputs ['b']."),
        ({"dataframe_records": []}, JSON, "Model is missing inputs"),
        ({"inputs": {"a": ["x"], "b": [1], "g": ["u"]}}, JSON, "could not convert"),
        ({"inputs": {"a": [1, 2], "b": [1], "g": ["u"]}}, JSON, "the same length"),
        ({"inputs": 5}, JSON, "Model is missing inputs"),
        ({"inputs": [], "instances": []}, JSON, "exactly one of the input fields"),
        ({"data": []}, JSON, "exactly one of the input fields"),
        ([1], JSON, "Received a list"),
        ("no JSON", JSON, "valid JSON"),
        ("", JSON, "valid JSON"),
        (b"\xff\xfe{", JSON, "valid JSON"),
        ('{"inputs": ' + "9" * 5_000 + "}", JSON, "5000 digits"),
        ("[" * 100_000, JSON, "recursion"),
        ('{"inputs": ' + "[" * 900 + "]" * 900 + "}", JSON, "recursion"),
        ("a,b,g\n1,,u\n", CSV, f"column 'b' must be a finite number. Got {MISSING} instead."),
        ("a,b,g\n1,abc,u\n", CSV, "could not convert string to float: 'abc'"),
        ("1,2,u\n", CSV, "Model is missing inputs ['a', 'b', 'g']."),
        ("", CSV, "No columns to parse"),
        (b"\xff\xfe", CSV, "valid UTF-8"),
        ("g,a,b\n9,u,1,2\n", CSV, "more values than there are names"),
    ],
    ids=range(27),
)
def test_what_is_wrong_gets_400_and_one_line(ask: Ask, body: object, kind: str, told: str):
    status, answer = ask(body, kind)
    assert (status, set(answer)) == (400, {"error_code", "message"})
    assert told in answer["message"]
    assert "\n" not in answer["message"]
    assert len(answer["message"]) <= 500
    assert "Failed to predict data" not in answer["message"]


def test_a_content_type_that_is_missing_or_unknown_gets_415(ask: Ask):
    for kind in (None, "text/plain", "application/json; charset=latin-1"):
        status, answer = ask(record(), kind)
        assert (status, set(answer)) == (415, {"error_code", "message"})


def test_a_body_has_a_limit_and_a_size(ask: Ask):
    fits = json.dumps(record())
    fits += " " * (MAX_BODY_BYTES - len(fits))
    assert ask(fits)[0] == 200
    status, answer = ask(fits + " ")
    assert (status, "at most 4,194,304 bytes" in answer["message"]) == (413, True)
    assert ask(fits * 5)[0] == 413
    status, answer = ask(iter([json.dumps(record()).encode()]))  # in chunks
    assert (status, "Content-Length" in answer["message"]) == (411, True)


def test_other_pages_and_names_are_refused(ask: Ask):
    assert ask(record(), Origin="https://example.com")[0] == 403
    assert ask(record(), Host="example.com")[0] == 403
    assert ask(record(), Host="localhost:5001")[0] == 200


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "Int64", "int32", "uint8"])
def test_in_python_numbers_of_every_type_are_taken(kind: str, table: Path, array: Path):
    rows = pd.DataFrame(ROWS).assign(b=[2, 4]).astype({"a": kind, "b": kind})
    assert mlflow.pyfunc.load_model(str(table)).predict(rows).tolist() == [[211.0], [1431.0]]
    numbers = rows[["a", "b"]].to_numpy()
    model = mlflow.pyfunc.load_model(str(array))
    assert model.predict(numbers).tolist() == [[211.0], [431.0]]


@pytest.mark.parametrize(("level", "more"), [(2, 100_000.0), (True, 10_000.0), ("v", 1_000.0)])
def test_in_python_levels_may_be_numbers_and_booleans(level: object, more: float, table: Path):
    rows = pd.DataFrame({"a": [1, 2], "b": [2, 2], "g": [level, level]})
    model = mlflow.pyfunc.load_model(str(table))
    assert model.predict(rows).tolist() == [[211.0 + more], [221.0 + more]]


def test_in_python_a_missing_column_or_a_number_as_text_is_refused(table: Path):
    model = mlflow.pyfunc.load_model(str(table))
    with pytest.raises(MlflowException, match="missing inputs \\['b'\\]"):
        model.predict(pd.DataFrame(ROWS)[["a", "g"]])
    with pytest.raises(MlflowException, match=r"column 'a' must be a number\. Got 'abc' instead"):
        model.predict(pd.DataFrame([ROWS[0] | {"a": "abc"}]))


def test_a_model_of_an_earlier_version_is_still_served(table: Path, tmp_path: Path):
    """Its signature had the type double for numbers."""
    folder = Path(shutil.copytree(table, tmp_path / "model"))
    meta = yaml.safe_load((folder / "MLmodel").read_text())
    inputs = json.loads(meta["signature"]["inputs"])
    meta["signature"]["inputs"] = json.dumps(
        [each | {"type": "double"} if each["type"] == "any" else each for each in inputs]
    )
    (folder / "MLmodel").write_text(yaml.safe_dump(meta))
    server = serving(folder)
    ask = next(server)
    assert ask({"dataframe_records": ROWS}) == (200, {"predictions": PREDICTED})
    assert ask("a,b,g\n1,2,u\n3,4.5,v\n", CSV) == (200, {"predictions": PREDICTED})
    status, answer = ask(record(a="abc"))
    assert (status, "could not convert string to float: 'abc'" in answer["message"]) == (400, True)
    next(server, None)


def test_null_is_a_hole_where_training_had_some(tmp_path: Path) -> None:
    levels, means = {"g": ("u", "(missing)")}, {"a": 1.5, "b": 2.0}
    encoding = Encoding(("a", "b"), levels, means=means, holes=("a",))
    model = mlflow.pyfunc.load_model(str(saved(tmp_path / "model", encoding, named=True)))
    rows = pd.DataFrame({"a": [None, 3.0], "b": [2.0, None], "g": [None, "u"]})
    assert model.predict(rows).tolist() == [[11216.0], [231.0]]


def test_dates_are_iso_text_in_json_and_csv_and_timestamps_in_python(tmp_path: Path) -> None:
    """1 + 10 · month, or of (missing) 10 and 100, + 1,000 for the level (missing)."""
    encoding = Encoding(
        ("when.month",), {"g": ("u", "(missing)", "(other)")}, means={"when.month": 1.0},
        holes=("when.month",), dates={"when": ("month",)},
    )  # fmt: skip
    folder = saved(tmp_path / "model", encoding, named=True)
    when, g = ["2024-03-01", "2024-12-31T23:30-01:00", None], ["u", None, "u"]
    predicted = {"predictions": [[31.0], [1011.0], [111.0]]}
    rows = [{"when": day, "g": level} for day, level in zip(when, g, strict=True)]
    server = serving(folder)
    ask = next(server)
    split = {"columns": ["when", "g"], "data": [[*row.values()] for row in rows]}
    for body in (
        {"dataframe_records": rows},
        {"dataframe_split": split},
        {"inputs": {"when": when, "g": g}},
        {"inputs": rows},
        {"instances": rows},
        "when,g\n2024-03-01,u\n2024-12-31T23:30-01:00,\n,u\n",
    ):
        assert ask(body, CSV if isinstance(body, str) else JSON) == (200, predicted)
    assert ask({"inputs": rows[2:]}) == (200, {"predictions": [[111.0]]})
    for body in ({"inputs": [{"when": "soon", "g": "u"}]}, "when,g\nsoon,u\n"):
        status, answer = ask(body, CSV if isinstance(body, str) else JSON)
        assert (status, "a date or time in ISO 8601" in answer["message"]) == (400, True)
    next(server, None)
    frame = pd.DataFrame({"when": pd.to_datetime(["2024-03-01", None]), "g": ["u", None]})
    assert mlflow.pyfunc.load_model(str(folder)).predict(frame).tolist() == [[31.0], [1111.0]]
