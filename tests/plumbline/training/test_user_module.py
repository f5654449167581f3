"""Users' own modules, right and wrong: what is said of each before anything slow."""

import multiprocessing
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from plumbline.config.loading import validated
from plumbline.config.schema import Config
from plumbline.config.training import Python
from plumbline.data.encoding import Encoding
from plumbline.errors import InputError
from plumbline.library import Model, evaluate, load_config, predict, train
from plumbline.training.exported import program_of
from plumbline.training.user_module import load_user_file
from plumbline.training.user_trial import check_model
from tests.plumbline.tools import ROOT, random_rows, write

HEAD = """import torch
from torch import nn
from torch.nn import functional

"""
OWN = """class Net(nn.Module):
    def __init__(self, d, k):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}

def build(inputs, outputs):
    return Net(inputs, outputs)
"""
LINE = "def build(inputs, outputs{options}):\n    return nn.Linear(inputs, outputs)\n"
FORWARD = "net.py, line 11: "  # where forward of OWN begins; its body is the line after


def own(init: str, forward: str) -> str:
    """A file with a module of these two bodies."""
    indent = "\n        "
    return OWN.format(init=init.replace("\n", indent), forward=forward.replace("\n", indent))


def built(expression: str) -> str:
    """A file whose build returns this."""
    return f"def build(inputs, outputs):\n    return {expression}\n"


def linear(forward: str) -> str:
    """A file with a module of one layer, self.last, and this forward."""
    return own("self.last = nn.Linear(d, k)", forward)


RECURRENT = "self.rnn = nn.{}(1, 8, batch_first=True)\nself.last = nn.Linear(8, k)"
ATTENDING = "self.into = nn.Linear(1, 8)\nself.last = nn.Linear(8, k)\n"
RIGHT = {
    "complex arithmetic": own(
        "self.last = nn.Linear(8, k)\nself.parts = nn.Parameter(torch.randn(d, 8, 2))",
        "return self.last((torch.complex(x, x) @ torch.view_as_complex(self.parts)).abs())",
    ),
    "sequential": built(
        "nn.Sequential(nn.Linear(inputs, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, outputs))"
    ),
    "batch norm and dropout": built(
        "nn.Sequential(nn.BatchNorm1d(inputs), nn.Dropout(0.5), nn.Linear(inputs, outputs))"
    ),
    "lstm": own(
        RECURRENT.format("LSTM"),
        "start = x.new_zeros(1, len(x), 8)\n"
        "return self.last(self.rnn(x[:, :, None], (start, start))[0][:, -1])",
    ),
    "gru": own(RECURRENT.format("GRU"), "return self.last(self.rnn(x[:, :, None])[1][0])"),
    "attention": own(
        ATTENDING + "self.attend = nn.MultiheadAttention(8, 2, batch_first=True)",
        "h = self.into(x[:, :, None])\nreturn self.last(self.attend(h, h, h)[0].mean(1))",
    ),
    "transformer": own(
        ATTENDING + "layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)\n"
        "self.encode = nn.TransformerEncoder(layer, 2)",
        "return self.last(self.encode(self.into(x[:, :, None])).mean(1))",
    ),
    "embedding of an integer column": own(
        "self.table = nn.Embedding(4, 3)\nself.last = nn.Linear(d + 2, k)",
        "return self.last(torch.cat([self.table(x[:, 0].long()), x[:, 1:]], dim=1))",
    ),
    "buffers": own(
        "self.register_buffer('scale', torch.linspace(1, 2, d))\nself.last = nn.Linear(d, k)",
        "return self.last(x * self.scale)",
    ),
    "lazy layers": built(
        "nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(outputs))"
    ),
    "convolution": own(
        "self.slide = nn.Conv1d(1, 4, 2)\nself.last = nn.LazyLinear(k)",
        "return self.last(self.slide(x[:, None]).flatten(1))",
    ),
    "weight norm": built("nn.utils.parametrizations.weight_norm(nn.Linear(inputs, outputs))"),
    "a frozen part": own(
        "self.into = nn.Linear(d, 8).requires_grad_(False)\nself.last = nn.Linear(8, k)",
        "return self.last(self.into(x).relu())",
    ),
    "noise in training": linear(
        "if self.training:\n    x = x + torch.randn_like(x)\nreturn self.last(x)"
    ),
    "a parameter of integers": own(
        "self.one = nn.Parameter(torch.arange(1, d + 1), requires_grad=False)\n"
        "self.last = nn.Linear(d, k)",
        "return self.last(x * self.one)",
    ),
    "a constant tensor": own(
        "self.one = torch.ones(d)\nself.last = nn.Linear(d, k)", "return self.last(x + self.one)"
    ),
    "a part without gradients": own(
        "self.last = nn.Linear(d, k)\nself.peek = nn.Linear(d, d)",
        "with torch.no_grad():\n    scale = self.peek(x).std()\nreturn self.last(x)",
    ),
    "an operation in place that can be repeated": built(
        "nn.Sequential(nn.ReLU(inplace=True), nn.Linear(inputs, outputs))"
    ),
    "layers in double": built("nn.Linear(inputs, outputs, dtype=torch.float64)"),
    "any option": LINE.format(options=", **options"),
}
WRONG_FILES = {
    "syntax": ("def build(inputs, outputs)\n", "net.py, line 5: the file cannot be loaded (Syntax"),
    "import": (
        "import no_such\n",
        "line 5: the file cannot be loaded (ModuleNotFoundError: No ",
    ),
    "raises": ("x = 1 / 0\n", "net.py, line 5: the file cannot be loaded (ZeroDivisionError: div"),
    "exits": ("raise SystemExit(3)\n", "net.py, line 5: the file cannot be loaded (SystemExit: 3)"),
    "no text": ("\0", "net.py: the file cannot be loaded (SyntaxError: source code string cannot"),
    "no build": (
        "def biuld(inputs, outputs):\n    return nn.Linear(inputs, outputs)\n",
        "net.py must define build(inputs, outputs, **options), which returns a module. Did you "
        "mean 'biuld'?",
    ),
    "build is no function": ("build = 3\n", "net.py must define build(inputs, outputs, **options)"),
    "build raises": (
        "def build(inputs, outputs):\n    raise KeyError('x')\n",
        "net.py, line 6: build(3, 1) failed (KeyError: 'x').",
    ),
    "torch raises in build": (built("nn.Linear(inputs, -1)"), "net.py, line 6: build(3, 1) failed"),
    "no such device": (built("nn.Linear(1, 1).to('cuda:99')"), "line 6: build(3, 1) failed ("),
    "no parameters taken": (
        "def build():\n    return nn.Linear(1, 1)\n",
        "net.py, line 5: build() must take inputs, outputs and what model.options gives (none): "
        "too many positional arguments.",
    ),
    "an option is missing": (
        LINE.format(options=", width"),
        "line 5: build(inputs, outputs, width) must take inputs, outputs and what model.options "
        "gives (none): missing a required argument: 'width'.",
    ),
    "nothing returned": (
        "def build(inputs, outputs):\n    nn.Linear(inputs, outputs)\n",
        "net.py, line 5: build must return an nn.Module. Got None instead.",
    ),
    "a class": (built("nn.Linear"), "line 5: build must return an nn.Module. Got the class Linear"),
    "a function": (built("lambda x: x"), "build must return an nn.Module. Got a function instead."),
    "no parameters": (built("nn.Identity()"), "line 5: the module must have parameters to train."),
    "layers in a list": (
        own("self.layers = [nn.Linear(d, k)]", "return self.layers[0](x)"),
        "Got none; are its layers attributes of it, lists of them nn.ModuleList, and none frozen?",
    ),
    "no super().__init__()": (
        own("pass", "return x").replace("super().__init__()", "self.last = nn.Linear(d, k)"),
        "net.py, line 7: build(3, 1) failed (AttributeError: cannot assign module before",
    ),
    "complex parameters": (
        own(
            "self.last = nn.Linear(d, k, dtype=torch.complex128)", "return self.last(x + 0j).abs()"
        ),
        "line 13: the module's parameters and buffers must be real, as training.dtype is. Got "
        "complex numbers in last.weight; keep a real tensor (..., 2) and use torch.view_as_complex",
    ),
    "parameters without values": (
        built("nn.Linear(inputs, outputs, device='meta')"),
        "line 5: the module cannot be moved to cpu as torch.float64 (NotImplementedError: Cannot",
    ),
}
WRONG_MODULES = {
    "width in": (
        own("self.last = nn.Linear(4, k)", "return self.last(x)"),
        "net.py, line 11: the module failed on (2, 3) float64 features on cpu in training mode "
        "(RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x1)). Its first layer "
        "must take `inputs` columns, and what forward makes must have the dtype and device of its "
        "features.",
    ),
    "width in, torch's own": (built("nn.Linear(4, outputs)"), "net.py, line 5: the module failed"),
    "width of lazy layers": (
        built("nn.Sequential(nn.LazyLinear(8), nn.Linear(4, outputs))"),
        "net.py, line 5: the module failed on 3 features (RuntimeError: mat1 and mat2 shapes",
    ),
    "width out": (
        built("nn.Linear(inputs, 2)"),
        "net.py, line 5: the module's output must have the shape (2, 1). Got (2, 2) in training "
        "mode. The last layer must have `outputs` columns.",
    ),
    "squeezed": (
        linear("return self.last(x).squeeze(-1)"),
        "net.py, line 10: the module's output must have the shape (2, 1). Got (2,) in training "
        "mode. Is it squeezed?",
    ),
    "squeezed in eval mode": (
        linear("return self.last(x) if self.training else self.last(x).squeeze(-1)"),
        "Got (2,) in eval mode. Is it squeezed?",
    ),
    "one row": (linear("return self.last(x.view(2, -1))"), "failed on (1, 3) float64 features on"),
    "a tuple": (
        linear("return self.last(x), x"),
        "must be one tensor, (2, 1). Got a tuple of 2 in training mode.",
    ),
    "nothing": (linear("self.last(x)"), "must be one tensor, (2, 1). Got None in training mode."),
    "no forward": (
        linear("return x").replace("forward", "foward"),
        'in training mode (NotImplementedError: Module [Net] is missing the required "forward"',
    ),
    "nan": (linear("return (self.last(x) - 1e3).log()"), "must be finite. Got [nan, nan] in train"),
    "integers": (
        linear("return self.last(x) if self.training else self.last(x).long()"),
        "must hold floating point numbers. Got torch.int64 in eval mode.",
    ),
    "detached": (
        linear("return self.last(x).detach()"),
        "must depend on the parameters. Got one that does not in training mode. Is there a no_grad",
    ),
    "no gradient": (
        linear("h = self.last(x).sigmoid()\nh *= 2\nreturn h"),
        "the gradient of the module's output cannot be computed (RuntimeError: one of the variabl",
    ),
    "dropout that never ends": (
        linear("return self.last(functional.dropout(x + 1, 0.5))"),
        "must be the same for the same rows. Got two different ones in eval mode. Does functional."
        "dropout lack training=self.training, or does forward change its features in place?",
    ),
    "a mean over rows": (
        linear("return self.last(x - x.mean(0))"),
        "must not depend on the other rows. Got [",
    ),
    "a softmax over rows": (
        linear("return self.last(x.softmax(dim=0))"),
        "alone in eval mode. Does forward compute a mean, a softmax or attention over the rows",
    ),
    "features changed in place": (
        linear("if self.training:\n    x += torch.randn_like(x)\nreturn self.last(x)"),
        "must not overwrite the features. Got others after every call in training mode. Do not",
    ),
    "float32 made in forward": (
        own(
            RECURRENT.format("LSTM"),
            "start = torch.zeros(1, x.shape[0], 8)\n"
            "return self.last(self.rnn(x[:, :, None], (start, start))[0][:, -1])",
        ),
        "net.py, line 13: the module failed on (2, 3) float64 features on cpu in training mode",
    ),
    "another device": (
        linear("return self.last(x + torch.ones(3, device='meta'))"),
        "net.py, line 11: the module failed on (2, 3) float64 features on cpu in training mode",
    ),
    "an index beyond the table": (
        own("self.table = nn.Embedding(2, k)", "return self.table(x[:, 0].long())"),
        "net.py, line 11: the module failed on (2, 3) float64 features on cpu in training mode "
        "(IndexError: index out of range in self).",
    ),
}
NO_EXPORT = {
    "an if on values": "if x[0].sum() > 0:\n    return self.last(x)\nreturn -self.last(x)",
    "a for over rows": "return torch.stack([self.last(row) for row in x])",
    "distances, which torch computes otherwise from 26 rows on": (
        "return self.last(torch.cdist(x, torch.eye(3, dtype=x.dtype)))"
    ),
    "an if on the number of rows": "return self.last(x) * (2 if x.shape[0] > 2 else 1)",
}
X = [[float(i % 4), i / 2, 1.0 - i] for i in range(12)]
X[-1][0] = 3.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def experiment(source: str | None, options: dict | None = None, **training: object) -> Config:
    """An experiment with a file of this content in the working directory."""
    if source is not None:
        Path("net.py").write_text(HEAD + source)
    data = {"kind": "synthetic", "x": X, "weights": [1.0, 2.0, 3.0]}
    model = {"kind": "python", "file": "net.py", "options": options or {}}
    raw = {"experiment": "e", "data": data, "model": model, "training": {"epochs": 2, **training}}
    return validated(raw, "c.yaml")


def message(source: str | None, options: dict | None = None, **training: object) -> str:
    """The line with which a module is refused."""
    config = experiment(source, options, **training)
    with pytest.raises(InputError) as caught:
        check_model(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", RIGHT)
def test_modules_of_many_sorts_are_trained_and_exported(folder, name, capfd):
    config = experiment(RIGHT[name])
    check_model(config)
    model = train(config)
    rows = torch.tensor(X, dtype=torch.float64)
    stored = program_of(model.module, 3).module()
    assert torch.allclose(stored(rows), model.module(rows))
    assert stored(rows[:1]).shape == (1, 1)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", WRONG_FILES)
def test_what_is_wrong_with_the_file_is_said_in_one_line(folder, name):
    source, expected = WRONG_FILES[name]
    assert expected in message(source)


@pytest.mark.parametrize("name", WRONG_MODULES)
def test_what_is_wrong_with_the_module_is_said_in_one_line(folder, name):
    source, expected = WRONG_MODULES[name]
    assert expected in message(source)


@pytest.mark.parametrize(
    ("optimizer", "table"),
    [
        ("adam", "nn.Embedding(9, k, sparse=True)"),
        (
            "lbfgs",
            "nn.Embedding(9, k)\nself.n = nn.Parameter(torch.arange(3), requires_grad=False)",
        ),
    ],
)
def test_parameters_that_the_optimizer_cannot_train_are_refused(folder, optimizer, table):
    source = own(f"self.table = {table}", "return self.table(x[:, 0].long())")
    expected = f": {optimizer} cannot train the module's parameters (RuntimeError: "
    assert expected in message(source, optimizer=optimizer)


@pytest.mark.parametrize("name", NO_EXPORT)
def test_a_module_that_cannot_be_exported_is_refused(folder, name, capfd):
    found = message(linear(NO_EXPORT[name]))
    assert found.startswith("net.py, line 1")
    assert ": the module cannot be exported (" in found
    assert found.endswith("no if or for that depends on them. Leave out torch.jit.script.")
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_not_there_is_named_with_the_working_folder(folder):
    assert message(None) == (
        f"model.file must be a Python file, relative to the working directory ({folder}). "
        "Got 'net.py' instead (no such file or directory)."
    )


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (", width=3", "Did you mean 'width'?"),
        (", *, depth=3", "It takes depth."),
        ("", "It takes none."),
    ],
)
def test_an_option_that_build_does_not_take_is_refused(folder, parameters, said):
    found = message(LINE.format(options=parameters), {"widht": 3})
    assert found == f"model.options.widht is no option of build (net.py, line 5). {said}"


def test_build_cannot_change_the_options(folder):
    config = experiment(
        "def build(inputs, outputs, widths):\n"
        "    widths.append(outputs)\n"
        "    return nn.Sequential(*(nn.Linear(a, b) for a, b in zip([inputs, *widths], widths)))\n",
        {"widths": [4]},
    )
    train(config)
    assert config.model.options == {"widths": [4]}


@pytest.mark.parametrize("text", ["2024-03-01", "{1: a}", ".inf", "!!set {a}", "!!binary aGk="])
def test_options_that_no_record_keeps_are_refused(folder, text):
    path = Path("c.yaml")
    path.write_text(f"model: {{kind: python, file: net.py, options: {{widths: [{text}]}}}}")
    with pytest.raises(InputError, match=r"model.options.widths\[0\].* must be text \(a date"):
        load_config(path, ["experiment=e", "data={kind: synthetic, x: [1, 2]}"])


def test_a_file_beside_it_is_imported_from_the_working_directory(folder):
    Path("models").mkdir()
    Path("models/parts.py").write_text("from torch import nn\n\nPart = nn.Linear\n")
    end = "import Part\n\n\ndef build(inputs, outputs):\n    return Part(inputs, outputs)\n"
    Path("models/net.py").write_text(f"from parts {end}")
    with pytest.raises(InputError, match=r"directory \(.*\): from models.parts import \.\.\.$"):
        load_user_file(Python(kind="python", file="models/net.py"))
    Path("models/net.py").write_text(f"from .parts {end}")
    with pytest.raises(InputError, match=r"directory \(.*\): from models.NAME import \.\.\.$"):
        load_user_file(Python(kind="python", file="models/net.py"))


def test_what_a_module_raises_amid_training_is_one_line(folder):
    config = experiment(own("self.table = nn.Embedding(4, k)", "return self.table(x[:, 0].long())"))
    data = config.data.model_copy(update={"x": [*X[:5], [9.0, 0.0, 0.0], X[5]]})
    config = config.model_copy(update={"data": data})
    check_model(config)  # the first and the last row are fine
    with pytest.raises(InputError, match=r"net.py, line 11: the module failed in training \(Index"):
        train(config)


def test_the_first_rows_of_a_table_are_tried_as_they_are(folder):
    rows = random_rows(20, 2)
    columns = {"k": [3] * 20, "y": rows[:, -1].tolist()}
    write(folder / "rows.csv", columns)
    source = own("self.table = nn.Embedding(4, k)", "return self.table(x[:, 0].long())")
    data = {"kind": "table", "path": "rows.csv", "target": "y"}
    raw = experiment(source).model_dump(mode="json", exclude={"data", "training"})
    check_model(validated({**raw, "data": data, "training": {"standardize": False}}, "c.yaml"))


def test_a_width_that_only_the_rows_tell_is_tried_once_they_are_read(folder):
    write(folder / "rows.csv", {"name": list("abc") * 5, "y": list(range(15))})
    data = {"kind": "table", "path": "rows.csv", "target": "y", "categorical": ["name"]}
    source = built("nn.Linear(7, outputs)")
    raw = {**experiment(source).model_dump(mode="json", exclude={"training"}), "data": data}
    config = validated(raw, "c.yaml")
    check_model(config)
    with pytest.raises(InputError, match=r"failed on \(2, 2\) float64 features .*standardised"):
        train(config)


def test_other_kinds_of_models_are_not_looked_at():
    check_model(load_config(ROOT / "configs" / "tutorial.yaml"))


def _trained_there(folder: str) -> bytes:
    os.chdir(folder)
    return pickle.dumps(train(experiment(None)).module)


def test_a_module_is_pickled_between_processes_that_have_loaded_the_file(folder):
    config = experiment(linear("return self.last(x)"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sent = pool.apply(_trained_there, (str(folder),))
    file = load_user_file(config.model)
    assert sys.modules[file.__name__] is file
    rows = torch.tensor(X, dtype=torch.float64)
    assert torch.equal(pickle.loads(sent)(rows), train(config).module(rows))


def test_a_changed_file_is_loaded_anew_by_the_next_run_and_not_within_one(folder):
    config = experiment(LINE.format(options=""))
    first = load_user_file(config.model)
    other = experiment(linear("return self.last(x)"))
    assert load_user_file(config.model) is first
    assert load_user_file(pickle.loads(pickle.dumps(config)).model) is first
    assert hasattr(load_user_file(other.model), "Net")
    check_model(config)
    assert load_user_file(config.model) is load_user_file(other.model)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_example_beats_the_line_on_the_rows_held_out(monkeypatch, dtype):
    monkeypatch.chdir(ROOT)
    config = load_config("configs/python.yaml", [f"training.dtype={dtype}"])
    check_model(config)
    model: Model = train(config)
    assert model.data.encoding == Encoding(("x",), {})
    gain = evaluate(model)["gain_over_linear"]
    assert gain > (0 if dtype != "bfloat16" else -10)
    assert predict(model, [500.0])[0] == pytest.approx(501.1, abs=2 if dtype != "bfloat16" else 10)


def test_the_module_in_the_docs_is_right(folder):
    page = (ROOT / "docs" / "models.md").read_text()
    source = page.split("```python\n")[1].split("```")[0]
    check_model(experiment(source, {"width": 128}, batch_size=4, optimizer="adam"))


def test_a_target_of_classes_has_an_output_for_each(folder):
    write(folder / "rows.csv", {"x": list(range(30)), "y": list("abc") * 10})
    data = {"kind": "table", "path": "rows.csv", "target": "y"}
    raw = {**experiment(LINE.format(options="")).model_dump(mode="json"), "data": data}
    del raw["training"]
    config = validated(raw, "c.yaml")
    check_model(config)
    assert train(config).module(torch.zeros(2, 1, dtype=torch.float64)).shape == (2, 3)
    experiment(built("nn.Linear(inputs, 2)"))
    with pytest.raises(InputError, match=r"output must have the shape \(2, 3\). Got \(2, 2\) in"):
        train(config)
    experiment(built("nn.Sequential(nn.Linear(inputs, outputs), nn.Softmax(1))"))
    with pytest.raises(InputError, match=r"output must be logits. Got probabilities .* softmax"):
        train(config)
    experiment(built("nn.Sequential(nn.Linear(inputs, outputs), nn.LogSoftmax(1))"))
    train(config)  # these are logits, too
