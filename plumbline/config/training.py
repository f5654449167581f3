"""The configuration of training, and which of its keys go together.

Part of the schema in plumbline/config/schema.py; imports no torch either.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from plumbline.config.section import (
    Count,
    Fraction,
    NotNegative,
    Positive,
    Section,
    Seed,
    disagreement,
)

Optimizer = Literal[
    "sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam", "lbfgs",
    "exact",
]  # fmt: skip
WITH_MOMENTUM = ("sgd", "rmsprop")
WITHOUT_WEIGHT_DECAY = ("lbfgs",)
# What the closed form can only be, and why; and what a loop alone needs.
EXACT_ONLY = {
    "loss": ("mse", "the closed form is of the squared error"),
    "batch_size": (None, "the closed form takes all rows at once"),
    "weight_decay": (0, "the closed form has no penalty"),
}
LOOP_ONLY = ("learning_rate", "momentum", "epochs", "tolerance")


class Training(Section):
    """The loop: what PyTorch is told."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$")] = Field(
        "auto",
        description="auto | cpu | cuda | cuda:N | mps | xpu; auto takes the machine's "
        "accelerator where there is one",
    )
    dtype: Literal["float32", "float64"] = Field("float64", description="precision of the loop")
    loss: Literal["mse", "huber", "l1"] = Field(
        "mse", description="mse trains on the R factor; huber and l1 read the rows every epoch"
    )
    optimizer: Optimizer = Field(
        "sgd",
        description="torch.optim's class of that name; exact: the closed form in one epoch (mse "
        "only; learning_rate, momentum, epochs and tolerance have no effect)",
    )
    learning_rate: Positive | Literal["auto"] = Field(
        0.01, description="step size; auto: the best fixed rate for sgd, from the eigenvalues"
    )
    momentum: Fraction = Field(0.0, description="for sgd and rmsprop")
    weight_decay: NotNegative = Field(0.0, description="on the weights, never on the bias")
    epochs: Count = Field(1000, description="passes over the training rows, at most")
    batch_size: Count | None = Field(
        None, description="rows a step; null: all of them, as in the tutorial"
    )
    standardize: bool = Field(
        False,
        description="train on features of mean 0 and deviation 1 (default: true for tables, "
        "false for synthetic data); the saved model always takes raw units",
    )
    tolerance: Positive | None = Field(
        None, description="stop as soon as the loss is within this of the exact optimum"
    )
    bias: bool = Field(True, description="fit an intercept")
    seed: Seed = Field(42, description="seed of the initial weights and of shuffling")

    @model_validator(mode="after")
    def _agrees(self) -> "Training":
        if self.optimizer == "exact":
            return self._closed_form()
        if self.momentum and self.optimizer not in WITH_MOMENTUM:
            raise disagreement("training.momentum", f"0 with {self.optimizer}", self.momentum)
        if self.weight_decay and self.optimizer in WITHOUT_WEIGHT_DECAY:
            raise disagreement(
                "training.weight_decay", f"0 with {self.optimizer}", self.weight_decay
            )
        if self.learning_rate == "auto" and (self.optimizer != "sgd" or not self.compressible):
            raise disagreement(
                "training.learning_rate",
                "a number unless optimizer is sgd, loss is mse and batch_size is null (only there "
                "is the best rate known)",
                "auto",
            )
        if self.tolerance is not None and (self.loss != "mse" or self.weight_decay):
            raise disagreement(
                "training.tolerance",
                "null unless loss is mse and weight_decay is 0 (only there does training approach "
                "the least-squares optimum)",
                self.tolerance,
            )
        return self

    def _closed_form(self) -> "Training":
        """Refuse what has no meaning without a loop over steps."""
        for key, (only, why) in EXACT_ONLY.items():
            found = getattr(self, key)
            if found != only:
                allowed = f"{'null' if only is None else only} with optimizer exact ({why})"
                raise disagreement(f"training.{key}", allowed, found)
        return self

    @property
    def ignored(self) -> list[str]:
        """The keys that were set and have no effect with this optimizer."""
        if self.optimizer != "exact":
            return []
        return [key for key in LOOP_ONLY if key in self.model_fields_set and getattr(self, key)]

    @property
    def compressible(self) -> bool:
        """Whether the R factor has the same loss as the rows for every step of this training."""
        return self.loss == "mse" and self.batch_size is None
