"""The exact head against least squares on what the body makes of the rows."""

import pytest
import torch
from torch import nn

from plumbline.config.schema import Split, Training
from plumbline.errors import InputError
from plumbline.linear.problem import Standardizer
from plumbline.training.head import head_layers, solve_head
from plumbline.training.nets import MLP
from plumbline.training.objectives import RowObjective
from plumbline.training.rows import TrainingRows
from tests.plumbline.tools import Rows, dataset, random_rows


def objective(seed: int = 0) -> RowObjective:
    """300 rows of three features, of which some are validation rows."""
    rows, split = random_rows(300, 3, seed), Split(validation_fraction=0.3)
    rows[:, -1] += rows[:, 0] ** 2
    data = dataset(Rows({"rows": rows}), split)
    standardizer = Standardizer.of(data.summary.train, True, True)
    training = Training(batch_size=32, dtype="float64").resolved("linear", standardize=True)
    return RowObjective(TrainingRows(data, training, standardizer, "cpu"))


@pytest.mark.parametrize("kind", ["mlp", "sequential"])
def test_head_is_least_squares_on_the_body(kind: str) -> None:
    """No other weights of the last layer have a lower loss on the training rows, but for what the
    ridge that the folds chose costs."""
    torch.manual_seed(0)
    rows = objective()
    layers = (nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 1))
    net = MLP(3, [], 1, hidden=[20]) if kind == "mlp" else nn.Sequential(*layers)
    net = net.double()
    features, target = next(rows.rows.blocks("train"))
    heads = head_layers(net, features[:2])
    assert solve_head(net, heads, rows)
    given = []
    for layer in heads:
        layer.register_forward_hook(lambda _, x, y: given.append(x[0].reshape(len(target), -1)))
    with torch.no_grad():
        loss = float((net(features) - target).square().mean())
    phi = torch.cat([torch.ones(len(target), 1).double(), *given], dim=1)
    best = torch.linalg.lstsq(phi, target, driver="gelsd").solution
    least = float((phi @ best - target).square().mean())
    assert least <= loss < 1.2 * least


def test_head_that_validation_rows_speak_against_is_left_out() -> None:
    """A head that was set to the best one for the validation rows cannot be bettered there."""
    torch.manual_seed(0)
    rows, net = objective(), nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 1)).double()
    features, target = next(rows.rows.blocks("validation"))
    with torch.no_grad():
        phi = torch.cat([net[:2](features), torch.ones(len(target), 1).double()], dim=1)
        best = torch.linalg.lstsq(phi, target).solution[:, 0]
        net[2].weight.copy_(best[None, :-1])
        net[2].bias.copy_(best[-1:])
    before = {name: values.clone() for name, values in net.state_dict().items()}
    assert not solve_head(net, [net[2]], rows)
    assert all(torch.equal(values, before[name]) for name, values in net.state_dict().items())


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(3, 1), nn.Tanh()),
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 1)),
    ],
)
def test_module_without_a_linear_last_layer_is_refused(net: nn.Module) -> None:
    with pytest.raises(InputError, match=r"returns the output of a plain nn.Linear"):
        head_layers(net, torch.zeros(2, 3))
