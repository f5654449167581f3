"""The net of `kind: mlp`, and how long it is trained.

A small relative of RealMLP (Holzmüller et al., "Better by Default", arXiv:2407.04491). What each
choice is worth is in docs/benchmarks.md.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from plumbline.config.schema import Config
from plumbline.data.encoding import Encoding
from plumbline.linear.problem import Standardizer
from plumbline.training.user_module import build_user_module

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
MOST_EMBEDDED = 32  # numeric columns; with more, no column is embedded
MOST_INDICATORS, LEVEL_SPREAD = 32, 0.3  # of a column; with more, each level has a vector
FREQUENCIES, SPREAD, EMBEDDED = 8, 0.3, 3
AVERAGED_EPOCHS = 4  # whose weights' running mean is judged and kept
STEPS, LEAST_EPOCHS, MOST_EPOCHS = 3_000, 10, 200
PATIENT_EPOCHS, PATIENT_STEPS = 16, 500  # at least this many without a better validation loss
LEAST_BATCH, MOST_BATCH, BATCHES_AN_EPOCH = 32, 256, 20


class MLP(nn.Module):
    """A multilayer perceptron on standardised features: (n, d) to (n, outputs).

    Numbers pass a smooth clip, 3·asinh(z/3), which leaves small |z| almost as it is and replaces
    outliers by their logarithm. With 1 to 32 numeric columns, each number also enters as a few
    cosines (`Periodic`). Indicators enter as they are given, but those of a column that has more
    than 32 as a learned vector for each level, the reference's being 0.

    Several nets (`ensemble`) are one batched product. While they are trained, `forward` returns the
    outputs of each, (ensemble, n, outputs), so that each learns by itself; otherwise their mean.

    Args:
        numbers: how many of the d columns, the first, are numbers; the others are indicators.
        indicators: how many of them each raw column has, in order.
        outputs: 1 for a number; for classes one logit each.
        hidden: widths of the hidden layers; none: linear in the inputs.
        activation: relu | gelu | silu | tanh.
        dropout: the share of hidden values set to 0 while training.
        embedding: whether numbers also enter as cosines.
        ensemble: how many nets are trained side by side.

    Raises:
        KeyError: an unknown activation.
    """

    def __init__(
        self,
        numbers: int,
        indicators: Sequence[int],
        outputs: int,
        hidden: Sequence[int] = (256, 256),
        activation: str = "relu",
        dropout: float = 0.0,
        embedding: bool = True,
        ensemble: int = 1,
    ) -> None:
        super().__init__()
        self.ensemble, self.numbers, self.indicators = ensemble, numbers, indicators
        embedded = embedding and 1 <= numbers <= MOST_EMBEDDED
        self.periodic = Periodic(ensemble, numbers) if embedded else None
        many = [count for count in indicators if count > MOST_INDICATORS]
        levels = [LevelVectors(ensemble, count) for count in many]
        self.levels = nn.ModuleList(levels)
        features = numbers + sum(indicators)
        width = features - sum(many) + sum(each.width for each in levels)
        width += EMBEDDED * numbers if embedded else 0
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [Linears(ensemble, width, size), ACTIVATIONS[activation]()]
            layers += [nn.Dropout(dropout)] if dropout else []
            width = size
        self.body = nn.Sequential(*layers)
        self.head = Linears(ensemble, width, outputs)
        self.line = Linears(ensemble, features, outputs)
        nn.init.zeros_(self.line.weight)

    @property
    def heads(self) -> list[nn.Module]:
        """The layers whose sum is the output."""
        return [self.head, self.line]

    def forward(self, rows: Tensor) -> Tensor:
        raw, *indicators = rows.split([self.numbers, *self.indicators], dim=1)
        numbers = 3 * torch.asinh(raw / 3)
        few = [each for each in indicators if each.shape[1] <= MOST_INDICATORS]
        many = [each for each in indicators if each.shape[1] > MOST_INDICATORS]
        inputs = [torch.cat([numbers, *few], dim=1).expand(self.ensemble, -1, -1)]
        inputs += [] if self.periodic is None else [self.periodic(numbers)]
        inputs += [vectors(each) for vectors, each in zip(self.levels, many, strict=True)]
        hidden = self.body(torch.cat(inputs, dim=-1))
        outputs = self.head(hidden) + self.line(rows.expand(self.ensemble, -1, -1))
        return outputs if self.training and self.ensemble > 1 else outputs.mean(0)


class Linears(nn.Module):
    """As many nn.Linear as nets, side by side: (nets, n, inputs) to (nets, n, outputs)."""

    def __init__(self, nets: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(inputs, 1))  # nn.Linear's own
        self.weight = nn.Parameter(torch.empty(nets, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(nets, 1, outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, inputs, self.weight)


class LevelVectors(nn.Module):
    """A learned vector for each level: (n, indicators) to (nets, n, width), 0 for the reference.

    The width grows with the fourth root of the levels, up to 16.
    """

    def __init__(self, nets: int, indicators: int) -> None:
        super().__init__()
        self.width = min(16, math.ceil(2 * indicators**0.25))
        self.weight = nn.Parameter(LEVEL_SPREAD * torch.randn(nets, indicators, self.width))

    def forward(self, indicators: Tensor) -> Tensor:
        return indicators @ self.weight


class Periodic(nn.Module):
    """Cosines of each number, mixed to three values: (n, d) to (nets, n, 3·d).

    cos(2π·w·x + b) with learned w ~ N(0, 0.3²) and b, then a linear layer for each column: PBLD in
    arXiv:2407.04491, section 3. So a small net can follow steps and cycles of a column.
    """

    def __init__(self, nets: int, columns: int) -> None:
        super().__init__()
        shape, bound = (nets, 1, columns, FREQUENCIES), 1 / math.sqrt(FREQUENCIES)
        self.frequency = nn.Parameter(SPREAD * torch.randn(shape))
        self.phase = nn.Parameter(torch.empty(shape).uniform_(-math.pi, math.pi))
        mix = torch.empty(nets, columns, FREQUENCIES, EMBEDDED)
        self.weight = nn.Parameter(mix.uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(nets, 1, columns, EMBEDDED))

    def forward(self, numbers: Tensor) -> Tensor:
        waves = torch.cos(2 * math.pi * self.frequency * numbers[..., None] + self.phase)
        return (torch.einsum("endf,edfk->endk", waves, self.weight) + self.bias).flatten(2)


def build_net(config: Config, encoding: Encoding) -> nn.Module:
    """The net of a configuration, for the features and the classes of an encoding."""
    model, inputs, outputs = config.model, len(encoding.features), len(encoding.classes) or 1
    if model.kind == "linear":
        return nn.Linear(inputs, outputs, bias=config.training.bias)
    if model.kind == "python":
        return build_user_module(model, inputs, outputs)
    options = model.model_dump(exclude={"kind", "exact_head"})
    return MLP(len(encoding.numeric), indicators_of(encoding), outputs, **options)


def with_plain_indicators(standardizer: Standardizer, encoding: Encoding) -> Standardizer:
    """The same, but an indicator of two levels becomes ±1 and others stay 0 or 1.

    Standardised, a level that one row in a thousand has would be 30 in that row.
    """
    mean, scale = standardizer.mean.clone(), standardizer.scale.clone()
    place = len(encoding.numeric)
    for width in indicators_of(encoding):
        some = slice(place, place + width)
        mean[some], scale[some] = (0.5, 0.5) if width == 1 else (0.0, 1.0)
        place += width
    return replace(standardizer, mean=mean, scale=scale)


def indicators_of(encoding: Encoding) -> list[int]:
    """How many indicators each column has, in the order of the features: those of missing values,
    then those of levels."""
    levels = [max(0, len(each) - 1) for each in encoding.levels.values()]
    return [1] * len(encoding.holes) + levels


def with_budget(config: Config, rows: int) -> Config:
    """Replace `auto` for batch size, epochs and patience by numbers.

    Args:
        config: the experiment.
        rows: how many it trains on.
    """
    training = config.training
    batch, epochs, patience = training.batch_size, training.epochs, training.patience
    if "auto" not in (batch, epochs, patience):
        return config
    if batch == "auto":
        power = round(math.log2(max(1, rows) / BATCHES_AN_EPOCH))
        batch = min(max(2**power, LEAST_BATCH), MOST_BATCH)
    steps = max(1, math.ceil(rows / batch)) if batch else 1
    if epochs == "auto":
        epochs = min(max(math.ceil(STEPS / steps), LEAST_EPOCHS), MOST_EPOCHS)
    if patience == "auto":
        patience = max(PATIENT_EPOCHS, math.ceil(PATIENT_STEPS / steps))
    update = {"batch_size": batch, "epochs": epochs, "patience": patience}
    return config.model_copy(update={"training": training.model_copy(update=update)})
