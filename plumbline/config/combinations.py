"""Which keys can be combined: one table for the schema, docs/configuration.md and the tests."""

from dataclasses import dataclass
from typing import Any, get_args

from plumbline.config.metrics import METRICS
from plumbline.config.running import AT_MOST_EVERY
from plumbline.config.training import LOSSES, WITH_MOMENTUM, Optimizer
from plumbline.errors import must_be

OPTIMIZERS = get_args(Optimizer)
ITERATIVE = tuple(name for name in OPTIMIZERS if name not in ("exact", "newton"))
STEPPING = tuple(name for name in ITERATIVE if name != "lbfgs")
NOT_EXACT, NOT_NEWTON = (*ITERATIVE, "newton"), (*ITERATIVE, "exact")
# Stand for any number, any number above 0, and any value but null.
NUMBER, ABOVE_0, GIVEN = object(), object(), object()
HELD_OUT = (ABOVE_0, "cut")  # values of data.test_fraction
R_FACTOR = "only training on the R factor weights rows by age"
BEST_RATE = "the best rate is known only for sgd on the R factor"
MSE = ("auto", "mse")
LOSSES_OF_LOGARITHM = tuple(loss for loss in LOSSES if loss not in ("cross_entropy", "poisson"))
STEPS = "it is for optimizers that take gradient steps"
OPTIMUM = "only a linear model with mse and no weight_decay has the exact optimum as its limit"


@dataclass(frozen=True)
class Rule:
    """A restriction of one key that depends on another.

    Attributes:
        key: the dotted key that is restricted.
        allowed: the values it may have, or NUMBER, ABOVE_0 or GIVEN.
        other: the key that it depends on.
        unless: the values of the other key that lift the restriction, in the same form.
        why: the reason, as users read it.
    """

    key: str
    allowed: tuple[Any, ...]
    other: str
    unless: tuple[Any, ...]
    why: str

    @property
    def allowed_text(self) -> str:
        """What is allowed, as a phrase that follows "must be"."""
        return " or ".join(map(_text, self.allowed))

    @property
    def condition(self) -> str:
        """When the rule applies, as the shorter of two equivalent phrases."""
        if self.unless in ((None,), (GIVEN,)):
            return f"{self.other} is {'given' if self.unless == (None,) else 'null'}"
        if self.other != "training.optimizer":
            return f"{self.other} is not {' or '.join(map(_text, self.unless))}"
        bound = [name for name in OPTIMIZERS if name not in self.unless]
        few = len(bound) < len(self.unless)
        names, verb = (bound, "is") if few else (self.unless, "is not")
        return f"{self.other} {verb} {' or '.join(names)}"

    def check(self, config: Any) -> None:
        """Raise InputError if the two keys of a configuration cannot be combined."""
        found, given = _value(config, self.key), _value(config, self.other)
        if _is_one_of(given, self.unless) or _is_one_of(found, self.allowed):
            return
        when = f"with {self.other.rpartition('.')[2]} {_text(given)}"
        if given is None or self.unless == (None,):
            when = f"{'without' if given is None else 'with'} {self.other}"
        raise must_be(self.key, f"{self.allowed_text} {when} ({self.why})", found)


RULES = (
    Rule("model.kind", ("linear",), "training.optimizer", ITERATIVE,
         "exact and newton solve linear models"),
    Rule("training.loss", MSE, "training.optimizer", NOT_EXACT,
         "the closed form minimises the squared error; newton is for classes"),
    Rule("training.loss", ("auto", "cross_entropy", "poisson"), "training.optimizer",
         NOT_NEWTON, "it maximises a likelihood, logistic or Poisson"),
    Rule("training.bias", (True,), "training.optimizer", NOT_NEWTON, "its models have intercepts"),
    Rule("training.bias", (True,), "training.loss",
         tuple(loss for loss in ("auto", *LOSSES) if loss != "poisson"),
         "its intercept models the mean of the counts"),
    Rule("training.batch_size", (None,), "training.optimizer", ITERATIVE,
         "they use all rows at once"),
    Rule("training.weight_decay", (0,), "training.optimizer", STEPPING,
         "they have none; exact has training.penalty"),
    Rule("training.penalty.kind", (None,), "training.optimizer", ("exact",),
         "only exact has penalties; others have training.weight_decay"),
    Rule("training.momentum", (0,), "training.optimizer", (*WITH_MOMENTUM, "exact", "newton"),
         "only sgd and rmsprop have momentum"),
    Rule("training.learning_rate", (NUMBER,), "training.optimizer", ("sgd", "exact", "newton"),
         BEST_RATE),
    Rule("training.learning_rate", (NUMBER,), "training.loss", MSE, BEST_RATE),
    Rule("training.learning_rate", (NUMBER,), "training.batch_size", (None,), BEST_RATE),
    Rule("training.learning_rate", (NUMBER,), "model.kind", ("linear",), BEST_RATE),
    Rule("training.rate_schedule", ("constant",), "training.optimizer", STEPPING, STEPS),
    Rule("training.warmup", (0,), "training.optimizer", STEPPING, STEPS),
    Rule("training.clip_norm", (None,), "training.optimizer", STEPPING, STEPS),
    Rule("training.patience", (None, 0), "training.optimizer", ITERATIVE, STEPS),
    Rule("training.patience", (None, 0), "data.validation_fraction", (ABOVE_0,),
         "it watches the loss on rows held out for validation"),
    Rule("training.start", ("fresh",), "training.optimizer", ITERATIVE,
         "they reach the same optimum from any start"),
    Rule("training.start", ("fresh",), "registry.model", (GIVEN,),
         "only a registered model has a champion"),
    Rule("model.exact_head", (None, False), "data.validation_fraction", (ABOVE_0,),
         "the validation loss decides whether it is kept"),
    Rule("model.exact_head", (None, False), "training.loss", MSE,
         "least squares minimises the squared error"),
    Rule("model.ensemble", (None, 1), "model.exact_head", (None, False),
         "every net of an ensemble has its own head"),
    Rule("training.dtype", ("float32", "float64"), "model.kind", ("mlp", "python"),
         "autocast is for nets"),
    Rule("training.bias", (True,), "model.kind", ("linear",), "a net has biases of its own"),
    Rule("training.tolerance", (None,), "training.loss", MSE, OPTIMUM),
    Rule("training.tolerance", (None,), "training.weight_decay", (0,), OPTIMUM),
    Rule("training.tolerance", (None,), "model.kind", ("linear",), OPTIMUM),
    Rule("data.log_target", (False,), "training.loss", ("auto", *LOSSES_OF_LOGARITHM),
         "only a number above 0 has a logarithm, and poisson already models it"),
    Rule("data.class_weight", ("none",), "training.loss", ("auto", "cross_entropy"),
         "only a target with classes has class weights"),
    Rule("data.window.half_life", (None,), "training.loss", MSE, R_FACTOR),
    Rule("data.window.half_life", (None,), "training.batch_size", (None,), R_FACTOR),
    Rule("data.window.half_life", (None,), "model.kind", ("linear",), R_FACTOR),
    Rule("prediction.interval", (None,), "data.test_fraction", HELD_OUT,
         "it comes from the residuals of held-out rows"),
    Rule("prediction.explain", ("auto", False), "data.test_fraction", HELD_OUT,
         "it is measured on held-out rows"),
    Rule("data.kind", ("table",), "schedule.on_change", (None, False),
         "generated rows never change"),
    Rule("schedule.at_most_every", (None, AT_MOST_EVERY), "schedule.on_change", (None, True),
         "cron and every set the start of each run themselves"),
    Rule("training.penalty.l1_ratio", (None,), "training.penalty.kind", (None, "elastic_net"),
         "ridge has 0, lasso 1"),
    Rule("data.test_fraction", (NUMBER,), "data.split.cut", (GIVEN,),
         "cut holds out the rows from data.split.cut on"),
    Rule("data.test_fraction", (0, "cut"), "data.split.cut", (None,),
         "data.split.cut says which rows are held out"),
    Rule("data.test_fraction", HELD_OUT, "data.split.by", (None, "rows", "group"),
         "data.split.by time holds out this share, or the rows from data.split.cut on"),
    Rule("data.test_fraction", HELD_OUT, "registry", (None,),
         "registry.metric is measured on held-out rows"),
    Rule("drift", (None,), "registry", (GIVEN,), "the data is compared with the champion's"),
    *(Rule("data.folds", (ABOVE_0,), f"registry.require.{name}", (None,),
           "it is measured by cross-validation")
      for name, metric in METRICS.items() if metric.needs == "folds"),
    Rule("runner", ("ray",), "ray.workers", (None,), "Ray starts the workers"),
    Rule("model.exact_head", (None, False), "ray.workers", (None,),
         "refitting the head needs all rows in one process"),
    Rule("training.start", ("fresh",), "ray.workers", (None,),
         "workers start from random weights"),
    Rule("training.device", ("auto", "cpu"), "runner", ("threads",),
         "the workers of a cluster compute on their CPUs"),
)  # fmt: skip


def check_combinations(config: Any) -> None:
    """Raise InputError for the first rule that a configuration breaks."""
    for rule in RULES:
        rule.check(config)


def _value(config: Any, key: str) -> Any:
    """The value at a dotted key; None if one of its sections is absent."""
    for name in key.split("."):
        config = getattr(config, name, None)
    return config


def _is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    stands_for = {NUMBER: number, ABOVE_0: number and value > 0, GIVEN: value is not None}
    return any(stands_for.get(each, each == value) for each in allowed)


def _text(value: Any) -> str:
    words = {None: "null", NUMBER: "a number", ABOVE_0: "above 0", GIVEN: "given"}
    return str(value).lower() if isinstance(value, bool) else words.get(value, str(value))
