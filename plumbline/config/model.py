"""The configuration of the model, and the defaults of training that depend on its kind."""

from typing import Annotated, Any, Literal

from pydantic import Field

from plumbline.config.section import Count, Fraction, Name, NotEmpty, Section


class Linear(Section):
    """A weight for each feature, and an intercept: nn.Linear."""

    kind: Literal["linear"] = Field("linear", description="a straight line")


class Net(Section):
    """What nets of any kind have."""

    exact_head: bool = Field(
        False,
        description="solve the last layer by least squares (ridge, by folds) once the net is "
        "trained, and keep it if the validation loss is less",
    )


class Mlp(Net):
    """A multilayer perceptron, with defaults that need no tuning."""

    kind: Literal["mlp"] = Field(description="a multilayer perceptron")
    hidden: NotEmpty[Count] = Field([256, 256], description="width of each hidden layer")
    activation: Literal["relu", "gelu", "silu", "tanh"] = Field(
        "relu", description="what stands between two layers"
    )
    dropout: Fraction = Field(
        0.0, description="share of the hidden values that a step of training leaves out"
    )
    embedding: bool = Field(
        True,
        description="numeric columns also as a few learned periodic functions of their value, "
        "where there are at most 32",
    )
    ensemble: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="nets that are trained together; their mean predicts"
    )


class Python(Net):
    """An nn.Module of the user's own."""

    kind: Literal["python"] = Field(description="a module of your own")
    file: Name = Field(
        description="a Python file, relative to the working folder, with a function "
        "build(inputs: int, outputs: int, **options) -> torch.nn.Module"
    )
    options: dict[Name, Any] = Field({}, description="handed on to build")


Model = Annotated[Linear | Mlp | Python, Field(discriminator="kind")]

# What a key of `training` is if it is left out or null.
DEFAULTS: dict[str, dict[str, Any]] = {
    "linear": {
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "rate_schedule": "constant",
        "weight_decay": 0.0,
        "epochs": 1000,
        "batch_size": None,
        "dtype": "float64",
        "patience": None,
    },
    "mlp": {
        "optimizer": "adamw",
        "learning_rate": 8e-3,
        "rate_schedule": "constant",
        "weight_decay": 0.01,
        "epochs": "auto",
        "batch_size": "auto",
        "dtype": "float32",
        "patience": "auto",
    },
}
DEFAULTS["python"] = DEFAULTS["linear"]
# The same where the target has classes.
OF_CLASSES: dict[str, dict[str, Any]] = {
    "linear": {"optimizer": "newton"},
    "mlp": {"learning_rate": 1e-3},
}


def as_markdown() -> str:
    """The defaults for the reference, a column a kind."""
    kinds = ("linear", "python", "mlp")
    rows = [f"| key | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    rows += [
        f"| training.{key} | {' | '.join(_text(kind, key) for kind in kinds)} |"
        for key in DEFAULTS["linear"]
    ]
    return "\n".join(rows) + "\n"


def _text(kind: str, key: str) -> str:
    value, of_classes = DEFAULTS[kind][key], OF_CLASSES.get(kind, {}).get(key)
    text = "null" if value is None else str(value)
    return f"{text}; classes: {of_classes}" if of_classes else text
