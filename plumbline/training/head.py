"""The exact head: a trained net's last layer, solved by least squares on its inputs.

For a body φ, everything before the last layer, the squared error of the head is that of a line on
φ(x), so that one pass gives its R factors, and ridge by folds its weights (variable projection:
Golub and Pereyra 1973; slimTrain: Newman et al., arXiv:2109.14002). Ridge, because
units that no row activates, or that are alike, are the rule.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from plumbline.config.schema import FOLDS
from plumbline.config.training import Penalty
from plumbline.errors import InputError
from plumbline.linear.factor import Factor
from plumbline.linear.penalty import fit_with_penalty
from plumbline.linear.problem import Standardizer
from plumbline.linear.sample import Sample
from plumbline.linear.summary import Summary
from plumbline.training.nets import Linears
from plumbline.training.objectives import RowObjective

CHUNK = 8_192  # rows that the body sees at once
Layer = nn.Linear | Linears


def head_layers(net: nn.Module, rows: Tensor) -> list[Layer]:
    """The linear layers whose sum the net returns: those that it names, or its last one.

    Args:
        net: standardised features, (n, d), to (n, 1).
        rows: (n, d) as it is trained on.

    Raises:
        InputError: it does not return the output of an nn.Linear.
    """
    if named := getattr(net, "heads", None):
        return named
    layers: list[Layer] = [  # none with a parametrization, whose weight cannot be set
        each
        for each in net.modules()
        if isinstance(each, nn.Linear) and isinstance(each.weight, nn.Parameter)
    ]
    with torch.no_grad(), _watching(layers) as seen:
        output = net.eval()(rows)
    for layer, (_, made) in seen.items():
        if made is output:
            return [layer]
    raise InputError(
        "model.exact_head needs a module that returns the output of a plain nn.Linear, its last "
        "layer. Got one that returns something else: set model.exact_head: false."
    )


def solve_head(net: nn.Module, layers: Sequence[Layer], objective: RowObjective) -> bool:
    """Set the layers to the weights of least squares on the training rows.

    Returns:
        Whether they were kept: they are if they lower the validation loss.
    """
    before, trained = objective.validation_loss(net), deepcopy(net.state_dict())
    bias = layers[0].bias is not None
    data = _summary(net, layers, objective)
    standardizer = Standardizer.of(data.train, bias, True)
    fit = fit_with_penalty(data, Penalty(kind="ridge"), bias, standardizer)
    widths = [layer.weight.numel() for layer in layers]
    with torch.no_grad():
        for layer, weights in zip(layers, fit.weights.split(widths), strict=True):
            layer.weight.copy_(weights.reshape(layer.weight.shape))
            if layer.bias is not None:
                layer.bias.fill_(fit.intercept if layer is layers[0] else 0.0)
    after = objective.validation_loss(net)
    kept = before is not None and after is not None and after < before
    if not kept:
        net.load_state_dict(trained)
    return kept


@torch.no_grad()
def _summary(net: nn.Module, layers: Sequence[Layer], objective: RowObjective) -> Summary:
    """The R factors of [1, φ(x), y] over the training rows, a row in ten to each fold."""
    net.eval()
    factors: dict[str, Factor] = {}
    for number, (features, target, *weights) in enumerate(_chunks(objective)):
        with _watching(layers) as seen:
            net(features)
        ones = torch.ones(len(target), 1)
        given = [seen[layer][0].reshape(len(target), -1) for layer in layers]
        rows = torch.cat([each.cpu().double() for each in (ones, *given, target)], dim=1)
        if weights:
            rows *= weights[0].cpu().double().sqrt()[:, None]
        columns = (*map(str, range(rows.shape[1] - 2)), "y")
        for k in range(FOLDS):
            some, name = rows[(k - number) % FOLDS :: FOLDS], f"fold {k:02}"
            if len(some):
                factors[name] = factors.get(name, Factor.empty(columns)).plus(some)
    return Summary(factors, {"train": Sample.empty(columns)}, ())


def _chunks(objective: RowObjective) -> Iterator[tuple[Tensor, ...]]:
    for block in objective.rows.blocks("train"):
        yield from zip(*(each.to(objective.device).split(CHUNK) for each in block), strict=True)


@contextmanager
def _watching(layers: Sequence[Layer]) -> Iterator[dict[Layer, tuple[Tensor, Tensor]]]:
    """Record the last input and output of each layer, while the body runs."""
    seen: dict[Layer, tuple[Tensor, Tensor]] = {}

    def remember(layer: Layer, given: tuple[Tensor], made: Tensor) -> None:
        seen[layer] = given[0], made

    hooks = [layer.register_forward_hook(remember) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
