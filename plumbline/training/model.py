"""The linear layer, optimizer and loss that the configuration names, and models in raw units."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn, optim
from torch.nn import functional
from torch.nn.utils import skip_init

from plumbline.config.training import WITH_MOMENTUM, Training
from plumbline.linear.problem import Standardizer
from plumbline.training.device import Draws

CLASSES = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
    "adadelta": optim.Adadelta,
    "adamax": optim.Adamax,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "lbfgs": optim.LBFGS,
}
FUSED = ("adam", "adamw")  # in one kernel; torch offers it for sgd, too, but there it is no faster


def initial_model(features: int, training: Training, device: str) -> nn.Linear:
    """An nn.Linear with the initial weights of a script that calls torch.manual_seed(seed) first.

    They are drawn on the CPU, so that they are the same on every device.
    """
    dtype = getattr(torch, training.dtype)
    with Draws(training.seed, "cpu")():
        model = nn.Linear(features, 1, bias=training.bias, dtype=dtype)
    return model.to(device)


class LinearModel(nn.Module):
    """y = intercept + x · weights in raw units: (n, d) float64 to (n, 1).

    Attributes:
        intercept: in units of y; 0 if the model has none.
        weights: (d,) float64.
    """

    weights: Tensor

    def __init__(self, intercept: float, weights: Tensor) -> None:
        super().__init__()
        self.intercept = intercept
        self.register_buffer("weights", weights)

    def forward(self, features: Tensor) -> Tensor:
        return (self.intercept + features @ self.weights)[..., None]

    def layer(self, training: Training) -> nn.Linear:
        """The same model as torch's own layer in the configured precision: what is stored."""
        dtype = getattr(torch, training.dtype)
        # so that nothing is drawn from torch's generator
        layer = skip_init(nn.Linear, len(self.weights), 1, bias=training.bias, dtype=dtype)
        with torch.no_grad():
            layer.weight.copy_(self.weights[None])
            if layer.bias is not None:
                layer.bias.fill_(self.intercept)
        return layer.eval()


class Exp(nn.Module):
    """The exponential that follows a model of the target's logarithm: it predicts the median."""

    def forward(self, logarithms: Tensor) -> Tensor:
        return logarithms.exp()


Limits = tuple[float, float] | None


class RawModel(nn.Module):
    """A trained net in raw units: (n, d) float64 to (n, 1) float64.

    Features are standardised before the net and the target's scale is put back after it. With a log
    link the net gives the logarithm of the target over its scale.

    Attributes:
        net: standardised features, (n, d), to (n, 1), in its own precision.
        mean, scale: (d,) float64, of the features.
        target: (2,) float64, the mean and the scale of the target.
        limits: that predictions are kept within; None: they are not.
        log_link: whether the net gives a logarithm.
    """

    mean: Tensor
    scale: Tensor
    target: Tensor

    def __init__(
        self, net: nn.Module, standardizer: Standardizer, limits: Limits, log_link: bool = False
    ) -> None:
        super().__init__()
        self.net, self.limits, self.log_link = net, limits, log_link
        # copies: an exported view brings its whole storage along
        self.register_buffer("mean", standardizer.mean.clone())
        self.register_buffer("scale", standardizer.scale.clone())
        target = [standardizer.target_mean, standardizer.target_scale]
        self.register_buffer("target", torch.tensor(target, dtype=torch.float64))
        floating = (p.dtype for p in net.parameters() if p.is_floating_point())
        self.precision = next(floating, torch.float64)

    def forward(self, features: Tensor) -> Tensor:
        standardised = ((features - self.mean) / self.scale).to(self.precision)
        output = self.net(standardised).double()
        output = output.exp() if self.log_link else output
        predicted = output * self.target[1] + self.target[0]
        return predicted.clamp(*self.limits) if self.limits else predicted


def make_optimizer(
    model: nn.Module, training: Training, rate: float, plain: bool = False
) -> optim.Optimizer:
    """torch.optim's optimizer of the configured name; weight decay applies to matrices alone.

    Args:
        model: whose parameters it trains.
        training: the configuration's section.
        rate: the step size.
        plain: for a user's module, as in a plain loop: with torch's own choice of kernel, where
            ours is the fastest for small nets and differs in the last bits; and every parameter of
            two or more dimensions is a matrix, whatever its name.
    """
    kind = CLASSES[training.optimizer]
    if training.optimizer == "lbfgs":
        return kind(model.parameters(), lr=rate, line_search_fn="strong_wolfe")
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, each in model.named_parameters():
        # the biases of our nets have more dimensions, because an ensemble's are stacked
        decays = each.ndim > 1 and (plain or "weight" in name.rpartition(".")[2])
        (matrices if decays else others).append(each)
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    if not others or not training.weight_decay:  # one group is faster than two
        groups = [{"params": [*model.parameters()]}]
    extra = {"momentum": training.momentum} if training.optimizer in WITH_MOMENTUM else {}
    if not plain:  # for two small tensors a loop is faster than torch's default for accelerators
        extra |= {"fused": True} if training.optimizer in FUSED else {"foreach": False}
    return kind(groups, lr=rate, weight_decay=training.weight_decay, **extra)


def parameters(model: nn.Linear) -> Tensor:
    """Bias (if there is one) and weights as one vector: (p,)."""
    weight = model.weight[0]
    return weight if model.bias is None else torch.cat([model.bias, weight])


def quantile_loss(
    predicted: Tensor, target: Tensor, quantile: float, reduction: str = "mean"
) -> Tensor:
    """max(q·e, (q - 1)·e), e = target - predicted (Koenker and Bassett 1978)."""
    error = target - predicted
    losses = torch.maximum(quantile * error, (quantile - 1) * error)
    return losses.mean() if reduction == "mean" else losses


def loss_of(training: Training, reduction: str = "mean") -> Callable[[Tensor, Tensor], Tensor]:
    """The configured loss of predictions and targets of one shape; reduction: "mean" or "none"."""
    losses: dict[str, Callable[..., Tensor]] = {
        "cross_entropy": functional.cross_entropy,  # of logits and indicators of classes
        "auto": functional.mse_loss,  # of a number
        "mse": functional.mse_loss,
        "huber": functional.huber_loss,
        "l1": functional.l1_loss,
        "poisson": functional.poisson_nll_loss,  # of logarithms and counts
        "quantile": partial(quantile_loss, quantile=training.quantile),
    }
    return partial(losses[training.loss], reduction=reduction)
