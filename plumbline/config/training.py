"""The configuration of the model and of its training.

The defaults of training depend on the kind of model. Which keys go together is said in
plumbline/config/combinations.py.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from plumbline.config.section import (
    Count,
    Fraction,
    Name,
    NotEmpty,
    NotNegative,
    Positive,
    Section,
    Seed,
)

Optimizer = Literal[
    "sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam", "lbfgs",
    "exact", "newton",
]  # fmt: skip
WITH_MOMENTUM = ("sgd", "rmsprop")
# What has no effect with optimizer: exact.
LOOP_ONLY = ("learning_rate", "momentum", "epochs", "tolerance")
LOSSES = ("mse", "huber", "l1", "quantile", "poisson", "cross_entropy")


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

    @cached_property
    def content(self) -> bytes:
        """The file, as it was at first: what is built is what is recorded and what other machines
        are given. Raises OSError: it cannot be read."""
        return Path(self.file).read_bytes()


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


class Penalty(Section):
    """What large weights cost, beside the squared error: scikit-learn's ElasticNet."""

    kind: Literal["ridge", "lasso", "elastic_net"] = Field(
        description="ridge: the squares of the weights, lasso: their sizes, some of which become "
        "0, elastic_net: both"
    )
    strength: Positive | Literal["auto"] = Field(
        "auto",
        description="(1/2n)·SSE + strength·(l1_ratio·‖w‖₁ + (1 - l1_ratio)/2·‖w‖²) is minimised on "
        "standardised features; auto: by cross-validation, with 10 folds unless data.folds says "
        "otherwise",
    )
    l1_ratio: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="elastic_net: the share of the sizes, null: 0.5; ridge has 0, lasso 1"
    )
    rule: Literal["minimum", "one_standard_error"] = Field(
        "minimum",
        description="auto: the strength of the least error over the folds, or the largest one "
        "whose error is within a standard error of that",
    )

    @property
    def share_of_sizes(self) -> float:
        """l1_ratio, of every kind."""
        given = 0.5 if self.l1_ratio is None else self.l1_ratio
        return {"ridge": 0.0, "lasso": 1.0}.get(self.kind, given)


class Training(Section):
    """The loop: what PyTorch is given."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$")] = Field(
        "auto",
        description="auto | cpu | cuda | cuda:N | mps | xpu; auto takes the machine's "
        "accelerator where there is one",
    )
    dtype: Literal["float32", "float64", "bfloat16"] | None = Field(
        "float64", description="precision of the loop; bfloat16: autocast of float32, for nets"
    )
    loss: Literal["auto", *LOSSES] = Field(  # type: ignore[valid-type]
        "auto",
        description="auto: mse for a number, cross_entropy for classes; of a linear model mse "
        "trains on the R factor, the others read the rows every epoch; poisson: of counts, whose "
        "logarithm the model gives",
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="which quantile of the target the loss of that name predicts"
    )
    optimizer: Optimizer | None = Field(
        "sgd",
        description="torch.optim's class of that name; exact: the closed form in one epoch "
        "(linear and mse only); newton: the most likely parameters in a few passes (linear, and "
        "cross_entropy or poisson only); with both learning_rate, momentum, epochs and tolerance "
        "have no effect",
    )
    learning_rate: Positive | Literal["auto"] | None = Field(
        0.01, description="step size; auto: the best fixed rate for sgd, from the eigenvalues"
    )
    rate_schedule: Literal["constant", "cosine", "one_cycle", "plateau"] | None = Field(
        "constant",
        description="how the rate changes: cosine falls to 0 at the last epoch, one_cycle rises "
        "before it falls, plateau is divided by 10 whenever the loss stands still (the "
        "validation loss, if rows are held out for it)",
    )
    warmup: Fraction = Field(
        0.0, description="share of the steps in which the rate rises from 0 to its value"
    )
    momentum: Fraction = Field(0.0, description="for sgd and rmsprop")
    weight_decay: NotNegative | None = Field(
        0.0, description="on the weights, never on a bias or a scale"
    )
    penalty: Penalty | None = Field(None)
    clip_norm: Positive | None = Field(
        None, description="the longest gradient of a step; a longer one is shortened to this"
    )
    epochs: Count | Literal["auto"] | None = Field(
        1000, description="passes over the training rows, at most; auto: by their number"
    )
    batch_size: Count | Literal["auto"] | None = Field(
        None,
        description="rows a step; linear and python, null: all of them, as in the tutorial; auto: "
        "by the number of rows",
    )
    patience: Annotated[int, Field(ge=0)] | Literal["auto"] | None = Field(
        None,
        description="stop after this many epochs without a better loss on the validation rows, and "
        "keep the best weights; 0: never; auto: 16, and more where an epoch has few steps",
    )
    max_minutes: Positive | None = Field(
        None, description="stop the loop then, and keep the best weights"
    )
    start: Literal["fresh", "champion"] = Field(
        "fresh",
        description="champion: go on from the weights of the registered model's champion, if it "
        "has the same columns, levels and shape; otherwise, and with fresh, from drawn ones",
    )
    checkpoint_every: NotNegative = Field(
        60.0, description="seconds from one checkpoint to the next, which make resume goes on from"
    )
    memory_mb: Positive = Field(
        512.0,
        description="MiB of rows that are kept between epochs, at most; where there are more, all "
        "are read again every epoch and shuffled in pools of a quarter of this",
    )
    standardize: bool | None = Field(
        None,
        description="train on features of mean 0 and deviation 1; null: true for tables and mlp, "
        "false for other models of synthetic data; the saved model always takes raw units",
    )
    tolerance: Positive | None = Field(
        None, description="stop as soon as the loss is within this of the exact optimum"
    )
    bias: bool = Field(True, description="fit an intercept")
    seed: Seed = Field(42, description="seed of the initial weights and of shuffling")

    @property
    def ignored(self) -> list[str]:
        """The keys that were set and have no effect with this optimizer."""
        if self.optimizer not in ("exact", "newton"):
            return []
        return [key for key in LOOP_ONLY if key in self.model_fields_set and getattr(self, key)]

    @property
    def compressible(self) -> bool:
        """Whether the R factor has the loss of a linear model's every step in this training."""
        return self.loss in ("auto", "mse") and self.batch_size is None

    def resolved(self, kind: str, standardize: bool, classes: bool = False) -> "Training":
        """The same training with what is left out as a kind of model and of target needs it.

        What was given stays recognisable: `model_fields_set` is not changed.
        """
        given = {key for key in self.model_fields_set if getattr(self, key) is not None}
        defaults = DEFAULTS[kind] | (OF_CLASSES.get(kind, {}) if classes else {})
        missing = {k: v for k, v in defaults.items() if k not in given}
        if self.standardize is None:
            missing["standardize"] = standardize
        return type(self).model_construct(self.model_fields_set, **{**dict(self), **missing})
