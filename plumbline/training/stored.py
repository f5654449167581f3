"""A stored model, and fine-tuning: a training that begins with its weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from plumbline.config.schema import Config
from plumbline.data.encoding import Encoding, missing_indicator, names_of
from plumbline.linear.dataset import Dataset
from plumbline.linear.problem import Standardizer
from plumbline.training.device import Draws
from plumbline.training.nets import build_net

# What decides which rows are held out. A model that was trained on rows which are held out now
# would hand on what it knows of them.
SPLIT = (
    "data.seed", "data.split.by", "data.split.column", "data.split.cut", "data.test_fraction",
)  # fmt: skip
SAME = ("model.kind", "training.bias", "data.validation_fraction")  # what must be as it was
SAME_NET = ("model.activation", "training.standardize")  # too, but a line is converted
# What runs do whose section lacks a key, or was recorded before there was one.
WITHOUT = {"model.kind": "linear", "data.split.by": "rows", "data.validation_fraction": "0.0"}
NET = "net."  # what the names of a net's own parameters begin with in a RawModel


@dataclass(frozen=True)
class StoredModel:
    """A model from the store: it is scored on today's data, or another training begins with it.

    Attributes:
        target: the column that it predicts; empty if unknown.
        encoding: the raw columns that it takes, their encoding as features, and its classes.
        module: raw features, (n, d) float64, to (n, 1), or the logits of its classes, (n, K).
        settings: the configuration that it was trained with, by dotted key, as MLflow's params;
            empty if it is unknown.
    """

    target: str
    encoding: Encoding
    module: nn.Module
    settings: Mapping[str, str] = field(default_factory=dict)

    def obstacle(self, config: Config, data: Dataset) -> str:
        """Why a training cannot begin with it, as a clause; empty if it can."""
        if not self.settings:
            return "its run was deleted, and with it how it was trained"
        keys = SAME if self._is_linear else (*SAME, *SAME_NET)
        mine, today, loss = self.encoding, data.encoding, config.training.loss
        for what, then, now in (
            *((key, self._setting(key), _setting(config, key)) for key in keys),
            ("target", self.target or data.target, data.target),
            ("data.log_target", mine.log_target, today.log_target),
            ("training.loss", self._loss, loss if "poisson" in (loss, self._loss) else self._loss),
        ):
            if then != now:
                return _difference(what, then, now)
        if changed := self.other_split(config):
            return changed
        known, found = _names(mine, self.target), _names(today, data.target)
        if new := [name for name in found if name not in known]:
            return f"it does not know '{new[0]}', which is in the data"
        if gone := [name for name in known if name not in found]:
            return f"it needs '{gone[0]}', which is not in the data"
        if known != found:
            return "its columns, levels or classes stand in another order"
        return "" if self._is_linear else self._other_shape(config, today)

    def other_split(self, config: Config) -> str:
        """A change of the split, by which it was trained on rows that are held out now, as a
        clause; empty if there is none, or its run was deleted.

        A lower test_fraction holds out some of the same rows, a later cut only newer ones, and
        another seed of synthetic data draws others.
        """
        for key in SPLIT if self.settings else ():
            then, now = self._setting(key), _setting(config, key)
            if then == now:
                continue
            if key == "data.seed" and config.data.kind == "synthetic":
                return ""
            fewer = key == "data.test_fraction" and _is_above(then, now)
            newer = key == "data.split.cut" and _is_above(now, then)
            if "null" in (then, now) or not (fewer or newer):
                return _difference(key, then, now)
        return ""

    def _other_shape(self, config: Config, encoding: Encoding) -> str:
        """How the shapes of a net's parameters differ from those of the configured net."""
        with Draws(config.training.seed, "cpu")():
            today = build_net(config, encoding).state_dict()
        now = {"target": [2]} | {NET + name: [*values.shape] for name, values in today.items()}
        then = {k: [*v.shape] for k, v in self._state.items() if k not in ("mean", "scale")}
        other = next((name for name in now | then if now.get(name) != then.get(name)), None)
        if other is None:
            return ""
        its, ours = (shapes.get(other, "missing") for shapes in (then, now))
        return f"{other} is {its} in it, and {ours} in this run's net"

    def _setting(self, key: str) -> str:
        return self.settings.get(key, WITHOUT.get(key, "null"))

    @property
    def _is_linear(self) -> bool:
        return self._setting("model.kind") == "linear"

    @property
    def _loss(self) -> str:
        return self.settings.get("training.loss", "")

    @property
    def _state(self) -> dict[str, Tensor]:
        """The state of a net's RawModel; with log_target, Exp follows it in a Sequential."""
        prefix = "0." if self.encoding.log_target else ""
        return {k.removeprefix(prefix): v for k, v in self.module.state_dict().items()}

    def give_to(self, net: nn.Module, standardizer: Standardizer) -> Standardizer:
        """Copy the stored weights into a net.

        Args:
            net: as it would be trained from drawn weights, in training's dtype.
            standardizer: today's.

        Returns:
            The scales to train with: today's for a linear model, whose weights are converted to
            them. A net keeps its own: through asinh, cosines or whatever a user's module computes,
            other scales would change what it predicts.
        """
        if self._is_linear:
            assert isinstance(net, nn.Linear)  # of the same kind of model: `obstacle`
            self._give_line(net, standardizer)
            return standardizer
        state = self._state
        net.load_state_dict({k.removeprefix(NET): v for k, v in state.items() if k.startswith(NET)})
        return Standardizer(state["mean"], state["scale"], *state["target"].tolist())

    @torch.no_grad()
    def _give_line(self, layer: nn.Linear, standardizer: Standardizer) -> None:
        """Set the intercept to the output at the features' mean, and each weight to the change of
        the output one standard deviation away."""
        features = len(standardizer.mean)
        away = torch.zeros(features + 1, features, dtype=torch.float64)
        away[1:] = standardizer.scale.diag()
        output = self.module(standardizer.mean + away).double()
        if self.encoding.log_target:
            output = output.log()
        elif self._loss == "poisson":
            output = (output / standardizer.target_scale).log()
        layer.weight.copy_((output[1:] - output[0]).mT)
        if layer.bias is not None:
            layer.bias.copy_(output[0])


def _setting(config: Config, key: str) -> str:
    """The value at a dotted key as text."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name, WITHOUT.get(key))
    return value if isinstance(value, str) else json.dumps(value)


def _difference(what: str, then: object, now: object) -> str:
    return f"its {what} is {then}, and that of this run {now}"


def _is_above(one: str, other: str) -> bool:
    try:
        return float(one) > float(other)
    except ValueError:  # dates
        return one > other


def _names(encoding: Encoding, target: str) -> list[str]:
    """The names that weights belong to, in order: features, reference levels and classes."""
    levels = names_of({**encoding.levels, target: encoding.classes})
    return [*encoding.numeric, *map(missing_indicator, encoding.holes), *levels]
