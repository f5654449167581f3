"""The configuration of training; plumbline/config/combinations.py says which keys go together."""

from typing import Annotated, Literal

from pydantic import Field

from plumbline.config.section import Count, Fraction, NotNegative, Positive, Section, Seed

Optimizer = Literal[
    "sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam", "lbfgs",
    "exact",
]  # fmt: skip
WITH_MOMENTUM = ("sgd", "rmsprop")
# What has no effect with optimizer: exact.
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
    standardize: bool | None = Field(
        None,
        description="train on features of mean 0 and deviation 1; null: true for tables, false "
        "for synthetic data; the saved model always takes raw units",
    )
    tolerance: Positive | None = Field(
        None, description="stop as soon as the loss is within this of the exact optimum"
    )
    bias: bool = Field(True, description="fit an intercept")
    seed: Seed = Field(42, description="seed of the initial weights and of shuffling")

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
