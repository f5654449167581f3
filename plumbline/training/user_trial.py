"""A trial of the user's module on two rows: what would end a run late is refused at its start."""

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from types import ModuleType

import torch
from torch import Tensor, nn

from plumbline.config.schema import Config, SyntheticData, Training
from plumbline.config.training import Python
from plumbline.data.encoding import Encoding
from plumbline.data.sources import Synthetic, Table, open_table
from plumbline.data.split import share_rows
from plumbline.errors import InputError
from plumbline.linear.problem import Standardizer
from plumbline.training.device import Draws, device_of
from plumbline.training.exported import Exported, export
from plumbline.training.model import RawModel, loss_of, make_optimizer
from plumbline.training.objectives import precision_of
from plumbline.training.rows import tensor_type
from plumbline.training.user_module import (
    blaming,
    build_function,
    build_user_module,
    kind_of,
    load_user_file,
    place_of,
)

_exported: set[tuple[object, ...]] = set()  # what has been exported once need not be again


def check_model(config: Config) -> None:
    """Try the user's module before anything slow; other kinds of models need no check.

    If only the rows tell the number of features (categorical columns without given levels, missing
    values that are imputed, dates) or of classes, only the file and the options are checked here;
    training tries the module later.

    Raises:
        InputError: the file, build, its options or the module is wrong, or the first rows are.
        OSError: a file cannot be read.
    """
    if config.model.kind != "python":
        return
    vars(config.model).pop("content", None)  # a notebook's file may have changed since
    build_function(config.model)
    data, training = config.data, config.training
    source = Synthetic(data) if isinstance(data, SyntheticData) else open_table(data)
    if data.missing == "impute" or not all(source.categorical.values()):
        return
    if source.dates or (isinstance(source, Table) and source.columns.has_classes):
        return
    features = Encoding.of(source.names[:-1], source.categorical).features
    rows = next(share_rows(source, data, ("train",), features), None)
    if rows is not None:
        standardizer = _of_block(rows, training)
        try_user_module(config.model, training, rows, 1, standardizer, device_of(config))


def _of_block(rows: Tensor, training: Training) -> Standardizer:
    """An estimate from one block of what the pass over all rows will find."""
    mean, scale = rows.mean(dim=0), rows.std(dim=0, correction=0)
    if not training.standardize:
        return Standardizer(torch.zeros_like(mean), torch.ones_like(mean))
    return Standardizer(mean, torch.where(scale > 0, scale, 1.0))


def try_user_module(
    model: Python,
    training: Training,
    rows: Tensor,
    outputs: int,
    standardizer: Standardizer,
    device: str,
) -> None:
    """Build the module, and train, evaluate and export it on two rows as a run does.

    Args:
        model, training: the configuration's sections.
        rows: features in raw units, (n, d) float64, n > 0; the first and the last are taken.
        outputs: the number of columns to predict.
        standardizer: from raw units to those that are trained on.
        device: where training runs.

    Raises:
        InputError: something is wrong with the module.
    """
    with Draws(training.seed, device)():
        net = build_user_module(model, rows.shape[1], outputs)
        file, tried = load_user_file(model), rows[[0, -1]]
        trial = _Trial(file, net, training, device, tried, outputs)
        features = trial.moved(standardizer)
        trial.train(features)
        trial.evaluate(features)
        key = (file.__name__, repr(model.options), rows.shape[1], outputs, training.dtype)
        if key not in _exported:
            trial.export(standardizer)
            _exported.add(key)


@dataclass(frozen=True)
class _Trial:
    """A module on trial.

    Attributes:
        file: where it comes from.
        net: the module.
        training: the configuration's section.
        device: where training runs.
        rows: two rows of features in raw units, (2, d) float64.
        outputs: the number of columns to predict.
    """

    file: ModuleType
    net: nn.Module
    training: Training
    device: str
    rows: Tensor
    outputs: int

    def moved(self, standardizer: Standardizer) -> Tensor:
        """Move the module to where it trains; returns the standardised rows there."""
        dtype = tensor_type(self.training)
        with blaming(self.file, f"the module cannot be moved to {self.device} as {dtype}"):
            self.net.to(self.device, dtype)
        return ((self.rows - standardizer.mean) / standardizer.scale).to(self.device, dtype)

    def train(self, features: Tensor) -> None:
        """Predict in training mode, and take one step of the optimizer."""
        self.net.train()
        self._predicted(features)
        before, found = features.clone(), self._predicted(features)
        if not torch.equal(features, before):
            hint = "Do not change them in place: kept rows would change in every epoch."
            raise self._wrong("not overwrite the features", "others after every call", hint)
        if not found.requires_grad:
            hint = "Is there a no_grad(), detach() or item() in forward?"
            raise self._wrong("depend on the parameters", "one that does not", hint)
        if self.outputs > 1 and _are_probabilities(found):
            hint = "Leave out the softmax at the end: the loss and the predictions apply one."
            raise self._wrong("be logits", "probabilities", hint)
        with blaming(self.file, "the gradient of the module's output cannot be computed"):
            loss = loss_of(self.training)(found, torch.zeros_like(found))
            loss.backward()
        with blaming(self.file, f"{self.training.optimizer} cannot train the module's parameters"):
            optimizer = make_optimizer(self.net, self.training, 1e-9, plain=True)
            optimizer.step(lambda: float(loss.detach()))

    @torch.no_grad()
    def evaluate(self, features: Tensor) -> None:
        """Predict the two rows twice, and one alone."""
        self.net.eval()
        once, again = self._predicted(features), self._predicted(features)
        alone = self._predicted(features[:1])
        if not torch.equal(once, again):
            hint = (
                "Does functional.dropout lack training=self.training, or does forward change its "
                "features in place?"
            )
            raise self._wrong("be the same for the same rows", "two different ones", hint)
        if (once[:1] - alone).abs().max() > 0.05 * once.abs().max():  # bfloat16 has few digits
            found = f"{once[0].tolist()} beside another row and {alone[0].tolist()} alone"
            hint = (
                "Does forward compute a mean, a softmax or attention over the rows (dim=0), or "
                "branch on their values?"
            )
            raise self._wrong("not depend on the other rows", found, hint)

    @torch.no_grad()
    def export(self, standardizer: Standardizer) -> None:
        """Export it as it will be stored, and predict with that for other numbers of rows."""
        module = RawModel(self.net.cpu().eval(), standardizer, None)
        hint = (
            " It is stored without this file, so forward must go the same way for any rows and "
            "number of rows: no if or for that depends on them. Leave out torch.jit.script."
        )
        with blaming(self.file, "the module cannot be exported", hint):
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # torch prints the graph
                stored = Exported(export(module, self.rows.shape[1]))
            for rows in (self.rows[:1], self.rows, self.rows[[0, 1, 0]], self.rows.repeat(99, 1)):
                torch.testing.assert_close(stored(rows), module(rows), rtol=1e-3, atol=1e-6)

    def _predicted(self, features: Tensor) -> Tensor:
        """The module's output for rows, checked."""
        shape, dtype = tuple(features.shape), str(features.dtype).removeprefix("torch.")
        symptom = f"the module failed on {shape} {dtype} features on {self.device} in {self._mode}"
        hint = (
            " Its first layer must take `inputs` columns, and what forward makes must have the "
            "dtype and device of its features."
        )
        if self.training.standardize:
            hint += " These are standardised; training.standardize: false leaves them as they are."
        with blaming(self.file, symptom, hint), precision_of(self.training, self.device):
            found = self.net(features)
        wanted = (len(features), self.outputs)
        if not isinstance(found, Tensor):
            raise self._wrong(f"be one tensor, {wanted}", kind_of(found))
        if found.shape != wanted:
            squeezed = found.numel() == len(features) * self.outputs
            hint = "Is it squeezed?" if squeezed else "The last layer must have `outputs` columns."
            raise self._wrong(f"have the shape {wanted}", str(tuple(found.shape)), hint)
        if not found.is_floating_point():
            raise self._wrong("hold floating point numbers", str(found.dtype))
        if not found.isfinite().all():
            raise self._wrong("be finite", str(found.flatten().tolist()))
        return found

    @property
    def _mode(self) -> str:
        return "training mode" if self.net.training else "eval mode"

    def _wrong(self, allowed: str, found: str, hint: str = "") -> InputError:
        place = place_of(self.file, type(self.net).forward, getattr(self.file, "build", None))
        said = f"{place}: the module's output must {allowed}. Got {found} in {self._mode}. {hint}"
        return InputError(said)


def _are_probabilities(outputs: Tensor) -> bool:
    """Whether (n, K) outputs, K > 1, look like those of a softmax."""
    sums = outputs.detach().double().sum(dim=1)
    return bool((outputs >= 0).all() and (sums - 1).abs().max() < 1e-2)  # bfloat16 has few digits
