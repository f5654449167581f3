"""The configuration sections `model` and `training`.

The defaults of training depend on the kind of model. plumbline/config/combinations.py says which
keys can be combined.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from plumbline.config.section import (
    Count,
    Fraction,
    Name,
    NotEmpty,
    NotNegative,
    NullIsDefault,
    Positive,
    Section,
    Seed,
)

Optimizer = Literal[
    "sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam", "lbfgs",
    "exact", "newton",
]  # fmt: skip
WITH_MOMENTUM = ("sgd", "rmsprop")
# The keys that have no effect with optimizer exact or newton.
LOOP_ONLY = ("learning_rate", "momentum", "epochs", "tolerance")
LOSSES = ("mse", "huber", "l1", "quantile", "poisson", "cross_entropy")


class Linear(Section):
    """A linear model: a weight for each feature, and an intercept."""

    kind: Literal["linear"] = "linear"
    """a linear model: weights and an intercept"""


class Net(Section):
    """The keys that every kind of net has."""

    exact_head: bool = False
    """after training, refit the last layer by least squares (ridge, its strength by
    cross-validation), and keep it if the validation loss is lower"""


class Mlp(Net):
    """A multilayer perceptron, with defaults that need no tuning."""

    kind: Literal["mlp"]
    """a multilayer perceptron"""

    hidden: NotEmpty[Count] = Field([256, 256])
    """width of each hidden layer"""

    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """activation function after each hidden layer"""

    dropout: Fraction = 0.0
    """probability that a training step sets a hidden value to 0"""

    embedding: bool = True
    """also give the net a few learned periodic functions of each numeric column, if there are at
    most 32"""

    ensemble: Annotated[int, Field(ge=1, le=16)] = 1
    """number of nets trained together; the prediction is their mean"""


class Python(Net):
    """An nn.Module that the user wrote."""

    kind: Literal["python"]
    """a module of your own"""

    file: Name
    """a Python file, relative to the working directory, with a function
    build(inputs: int, outputs: int, **options) -> torch.nn.Module"""

    options: dict[Name, JsonValue] = Field({})
    """keyword arguments passed to build"""

    @cached_property
    def content(self) -> bytes:
        """The file's bytes, read once, so that the module that is built, recorded and sent to other
        machines is the same. Raises OSError if the file cannot be read."""
        return Path(self.file).read_bytes()


Model = Annotated[Linear | Mlp | Python, Field(discriminator="kind")]

# What an mlp has instead of the defaults in `Training`, which the other kinds of model have.
OF_MLP: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 8e-3,
    "rate_schedule": "constant",
    "weight_decay": 0.01,
    "epochs": "auto",
    "batch_size": "auto",
    "dtype": "float32",
    "patience": "auto",
}
# What replaces both if the target has classes.
OF_CLASSES: dict[str, dict[str, Any]] = {
    "linear": {"optimizer": "newton"},
    "mlp": {"learning_rate": 1e-3},
}


class Penalty(Section):
    """A penalty on large weights, with the objective of scikit-learn's ElasticNet."""

    kind: Literal["ridge", "lasso", "elastic_net"]
    """ridge: the squared weights (L2); lasso: their absolute values (L1), which makes some of them
    0; elastic_net: both"""

    strength: Positive | Literal["auto"] = "auto"
    """(1/2n)·SSE + strength·(l1_ratio·‖w‖₁ + (1 - l1_ratio)/2·‖w‖²) is minimised on standardised
    features; auto: chosen by cross-validation, with 10 folds unless data.folds is set"""

    l1_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """for elastic_net: the share of L1; null: 0.5; ridge has 0, lasso 1"""

    rule: Literal["minimum", "one_standard_error"] = "minimum"
    """for strength auto: the strength with the least cross-validation error, or the largest one
    whose error is within one standard error of it"""

    @property
    def share_of_sizes(self) -> float:
        """The L1 ratio of every kind of penalty, in [0, 1]."""
        given = 0.5 if self.l1_ratio is None else self.l1_ratio
        return {"ridge": 0.0, "lasso": 1.0}.get(self.kind, given)


class Training(Section):
    """How the model is trained."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$")] = "auto"
    """auto | cpu | cuda | cuda:N | mps | xpu; auto uses the machine's accelerator if it has one"""

    dtype: NullIsDefault[Literal["float32", "float64", "bfloat16"]] = "float64"
    """precision of training; bfloat16: autocast from float32, for nets"""

    loss: Literal["auto", *LOSSES] = "auto"  # type: ignore[valid-type]
    """auto: mse for a number, cross_entropy for classes; poisson: for counts, with a model of their
    logarithm; with mse a linear model trains on the R factor, with any other loss it reads the rows
    every epoch"""

    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """with loss quantile: which quantile of the target to predict"""

    optimizer: NullIsDefault[Optimizer] = "sgd"
    """the torch.optim class of that name; exact: the closed form in one epoch (linear with mse
    only); newton: maximum likelihood in a few passes (linear with cross_entropy or poisson only);
    learning_rate, momentum, epochs and tolerance have no effect with exact or newton"""

    learning_rate: NullIsDefault[Positive | Literal["auto"]] = 0.01
    """step size; auto: the best fixed rate for sgd, computed from the eigenvalues"""

    rate_schedule: NullIsDefault[Literal["constant", "cosine", "one_cycle", "plateau"]] = "constant"
    """how the learning rate changes: cosine decays to 0 at the last epoch; one_cycle rises, then
    decays; plateau divides it by 10 when the loss stops improving (the validation loss, if rows are
    held out for it)"""

    warmup: Fraction = 0.0
    """share of the steps over which the learning rate rises from 0"""

    momentum: Fraction = 0.0
    """momentum of sgd or rmsprop"""

    weight_decay: NullIsDefault[NotNegative] = 0.0
    """weight decay of the optimizer; applied to weights, not to biases or scales"""

    penalty: Penalty | None = None

    clip_norm: Positive | None = None
    """the largest gradient norm of a step; longer gradients are scaled down to it"""

    epochs: NullIsDefault[Count | Literal["auto"]] = 1000
    """the most passes over the training rows; auto: chosen by their number"""

    batch_size: Count | Literal["auto"] | None = None
    """rows per step; null (linear and python): all of them, as in the tutorial; auto: chosen by the
    number of rows"""

    patience: Annotated[int, Field(ge=0)] | Literal["auto"] | None = None
    """stop after this many epochs without a better loss on the validation rows, and keep the best
    weights; 0: never stop early; auto: 16, or more if an epoch has few steps"""

    max_minutes: Positive | None = None
    """stop training after this many minutes and keep the best weights"""

    start: Literal["fresh", "champion"] = "fresh"
    """champion: start from the weights of the registered model's champion if it has the same
    columns, levels and shape; otherwise, and with fresh, from random weights"""

    checkpoint_every: NotNegative = 60.0
    """seconds between checkpoints, from which make resume continues"""

    memory_mb: Positive = 512.0
    """the most MiB of rows kept in memory between epochs; if there are more, all are read again
    every epoch and shuffled in pools of a quarter of this size"""

    standardize: bool | None = None
    """train on features of mean 0 and standard deviation 1; null: true for tables and for mlp,
    otherwise false; the saved model always takes raw units"""

    tolerance: Positive | None = None
    """stop once the loss is within this of the exact optimum"""

    bias: bool = True
    """fit an intercept"""

    seed: Seed = 42
    """seed of the initial weights and of shuffling"""

    @property
    def ignored(self) -> list[str]:
        """The keys that were set but have no effect with this optimizer."""
        if self.optimizer not in ("exact", "newton"):
            return []
        return [key for key in LOOP_ONLY if key in self.model_fields_set and getattr(self, key)]

    @property
    def compressible(self) -> bool:
        """Whether the R factor gives the loss of every step of a linear model."""
        return self.loss in ("auto", "mse") and self.batch_size is None

    def resolved(self, kind: str, standardize: bool, classes: bool = False) -> "Training":
        """The same section with the defaults of this kind of model and target filled in.

        `model_fields_set` is unchanged, so it still tells which keys were given.
        """
        given = {key for key in self.model_fields_set if getattr(self, key) is not None}
        defaults = defaults_of(kind) | (OF_CLASSES.get(kind, {}) if classes else {})
        missing = {k: v for k, v in defaults.items() if k not in given}
        if self.standardize is None:
            missing["standardize"] = standardize
        return type(self).model_construct(self.model_fields_set, **{**dict(self), **missing})


def defaults_of(kind: str) -> dict[str, Any]:
    """The values of the keys of `training` that are left out or null, for a kind of model."""
    usual = {key: Training.model_fields[key].default for key in OF_MLP}
    return OF_MLP if kind == "mlp" else usual
