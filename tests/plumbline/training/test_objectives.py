"""Training on the rows, where the factor cannot know the loss."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from plumbline.config.schema import Split, Training
from plumbline.data.split import row_hashes
from plumbline.training.loop import train_linear
from plumbline.training.objectives import RowObjective
from plumbline.training.plan import make_plan
from plumbline.training.rows import TrainingRows
from plumbline.training.trained import Trained
from tests.plumbline.tools import DTYPES, Rows, dataset, opened, plain_loop, random_rows, write

ROWS = random_rows(90, 3, far=0.5)
CRITERIA = {"mse": nn.MSELoss(), "huber": nn.HuberLoss(), "l1": nn.L1Loss()}
ROW_MB = 8 * 4 / 2**20  # three features and the target
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def parts(rows: torch.Tensor, count: int) -> Rows:
    return Rows({f"{i}": p for i, p in enumerate(torch.tensor_split(rows, count))})


def streamed(source, training: Training, split: Split) -> tuple[RowObjective, Trained]:
    """Train on the rows of a source, whatever the loss."""
    data = dataset(source, split)
    plan = make_plan(data.summary, training)
    objective = RowObjective(TrainingRows(data, training, plan.standardizer, "cpu"))
    return objective, train_linear(plan, training, "cpu", lambda epoch, loss: None, objective)


def by_hand(rows: torch.Tensor, training: Training) -> list[float]:
    """Full-batch gradient descent on any loss, on all rows at once."""
    rows = rows.to(getattr(torch, training.dtype))
    torch.manual_seed(training.seed)
    model = nn.Linear(rows.shape[1] - 1, 1, dtype=rows.dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=training.learning_rate)
    losses = []
    for _ in range(training.epochs):
        loss = CRITERIA[training.loss](model(rows[:, :-1]), rows[:, -1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@each_dtype
@pytest.mark.parametrize("loss", CRITERIA)
@pytest.mark.parametrize("count", [1, 4])
def test_every_epochs_loss_is_that_of_the_loop_on_all_rows(loss, count, dtype):
    training = Training(loss=loss, epochs=60, dtype=dtype)
    _, found = streamed(parts(ROWS, count), training, Split())
    assert found.losses == pytest.approx(by_hand(ROWS, training), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_streaming_the_squared_error_is_training_on_the_factor(standardize, bias):
    training = Training(epochs=60, standardize=standardize, bias=bias)
    _, found = streamed(parts(ROWS, 3), training, Split())
    assert found.losses == pytest.approx(plain_loop(ROWS, training), rel=1e-9)


@pytest.mark.parametrize("batch", [None, 16])
def test_rows_that_do_not_fit_the_memory_are_read_again_every_epoch(batch):
    training = Training(loss="huber", epochs=20, batch_size=batch)
    kept, expected = streamed(parts(ROWS, 5), training, Split())
    few = training.model_copy(update={"memory_mb": ROW_MB * 89})
    again, found = streamed(parts(ROWS, 5), few, Split())
    assert kept.rows.kept.keys() == {"train"}
    assert not again.rows.kept
    if batch is None:
        assert found.losses == pytest.approx(expected.losses, rel=1e-9)
    else:
        assert found.losses[-1] < found.losses[0]


@pytest.mark.parametrize("change", [b"9,9\n", b"9\n"], ids=["longer", "damaged"])
def test_a_file_that_changes_between_epochs_ends_the_training(change, tmp_path):
    path = write(tmp_path / "a.csv", {"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]})
    source, training = opened(path), Training(loss="huber", epochs=5, memory_mb=1e-9)
    data = dataset(source, Split())
    plan = make_plan(data.summary, training)
    rows = TrainingRows(data, training, plan.standardizer, "cpu")

    def change_after_the_second(epoch: int, loss: float) -> None:
        if epoch == 2:
            path.write_bytes(path.read_bytes() + change)

    with pytest.raises(OSError, match=r"a\.csv changed"):
        train_linear(plan, training, "cpu", change_after_the_second, RowObjective(rows))


def drawn_in(objective: RowObjective, epoch: int) -> list[torch.Tensor]:
    """(share, loss) of every batch of an epoch, for the model that predicts 0."""
    model = nn.Linear(3, 1, dtype=torch.float64)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    drawn = []
    for batch in objective.batches(model, epoch):
        losses = [objective.loss(model, rows, batch.size).item() for rows in batch.blocks]
        drawn.append(torch.tensor([batch.share, sum(losses)]))
    return drawn


@pytest.mark.parametrize("batch", [1, 7, 16, 90, 1000])
@pytest.mark.parametrize("capacity", [30, 10_000])
def test_an_epoch_of_mini_batches_meets_every_row_once(batch, capacity):
    memory = ROW_MB * capacity
    training = Training(epochs=1, batch_size=batch, learning_rate=1e-9, memory_mb=memory)
    rows, _ = streamed(parts(ROWS, 5), training, Split())
    batches = torch.stack(drawn_in(rows, 1))
    assert float(batches[:, 0].sum()) == pytest.approx(1.0)
    mean_square = float((batches[:, 0] * batches[:, 1]).sum())
    assert mean_square == pytest.approx(float(ROWS[:, -1].square().mean()), rel=1e-5)


@pytest.mark.parametrize(("batch", "expected"), [(89, [90]), (88, [88, 2]), (90, [90])])
def test_a_last_row_alone_joins_the_batch_before_it_for_batch_norm(batch, expected):
    training = Training(epochs=1, batch_size=batch, learning_rate=1e-9)
    rows, _ = streamed(parts(ROWS, 5), training, Split())
    plain, normed = nn.Linear(3, 1).double(), nn.BatchNorm1d(3).double()
    sizes = [[batch.size for batch in rows.batches(m, 1)] for m in (plain, normed)]
    assert sizes == [[batch] * (90 // batch) + [90 % batch] * (90 % batch > 0), expected]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_no_step_waits_for_the_device(optimizer):
    """On an accelerator each number that Python asks a tensor for is a copy from there."""

    class CountingMode(TorchDispatchMode):
        asked = 0

        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            self.asked += "_local_scalar_dense" in str(operator)
            return operator(*args, **(kwargs or {}))

    with CountingMode() as counting:
        streamed(parts(ROWS, 1), Training(epochs=1, batch_size=90, optimizer=optimizer), Split())
        of_one_step, counting.asked = counting.asked, 0
        training = Training(epochs=1, batch_size=1, optimizer=optimizer, clip_norm=1.0)
        streamed(parts(ROWS, 1), training, Split())
    assert 0 < counting.asked == of_one_step


@pytest.mark.parametrize("memory", [ROW_MB * 89, 512.0])
def test_pools_are_whole_batches_of_whole_files_in_an_order_of_seed_and_epoch(memory):
    training = Training(epochs=1, batch_size=10, memory_mb=memory)
    one, two = (streamed(parts(ROWS, 5), training, Split())[0].rows for _ in range(2))
    found = [
        [tuple(each.clone() for each in pool) for pool in rows.pools(torch.Generator())]
        for rows in (one, two)
    ]
    sizes = [90] if memory == 512 else [20, 20, 20, 20, 10]
    assert [len(features) for features, _ in found[0]] == sizes
    for mine, others in zip(*found, strict=True):
        assert all(map(torch.equal, mine, others))
    met = torch.cat([target for _, target in found[0]])[:, 0]
    assert torch.equal(met.sort().values, ROWS[:, -1].sort().values)


def test_every_epoch_shuffles_anew_and_the_same_seed_shuffles_alike():
    training = Training(epochs=1, batch_size=10)
    one, two = (streamed(parts(ROWS, 3), training, Split())[0] for _ in range(2))
    assert torch.equal(torch.stack(drawn_in(one, 5)), torch.stack(drawn_in(two, 5)))
    assert not torch.equal(torch.stack(drawn_in(one, 5)), torch.stack(drawn_in(one, 6)))


@each_dtype
def test_mini_batches_come_near_the_optimum(dtype):
    training = Training(epochs=60, batch_size=10, learning_rate=0.01, dtype=dtype)
    _, found = streamed(parts(ROWS, 3), training, Split())
    assert found.losses[-1] < 1.3 * found.exact.optimum.mse


def test_one_batch_of_all_rows_is_full_batch_training():
    training = Training(epochs=30, batch_size=90)
    _, found = streamed(parts(ROWS, 1), training, Split())
    assert found.losses == pytest.approx(plain_loop(ROWS, training), rel=1e-9)


@pytest.mark.parametrize("batch", [None, 8])
def test_held_out_rows_are_never_trained_on(batch):
    split = Split(test_fraction=0.4)
    training = Training(loss="huber", epochs=1, batch_size=batch, learning_rate=1e-9)
    rows, _ = streamed(Rows({"rows": ROWS}), training, split)
    held = row_hashes(split.seed, "rows", 0, 90, "test") < 0.4
    batches = torch.stack(drawn_in(rows, 1))
    y = ROWS[~held, -1]
    expected = float(functional.huber_loss(torch.zeros_like(y), y))
    assert rows.counts["train"] == len(y)
    assert float((batches[:, 0] * batches[:, 1]).sum()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch", [None, 8])
def test_files_with_dropped_rows_and_late_levels_stream_what_was_compressed(batch, tmp_path):
    for name, levels in (("1", ["a", "b"] * 20), ("2", ["c", "a"] * 20)):
        x = [0.1 * i for i in range(40)]
        y: list[float | None] = [v + len(levels) for v in x]
        y[3] = None
        write(tmp_path / f"{name}.csv", {"g": levels, "x": x, "y": y})
    source, split = opened(tmp_path, categorical=["g"], missing="drop"), Split(test_fraction=0.25)
    training = Training(epochs=30, batch_size=batch, loss="mse", learning_rate=0.01)
    rows, found = streamed(source, training, split)
    if batch is None:
        on_factor = train_linear(found.exact, training, "cpu", lambda epoch, loss: None)
        assert found.losses == pytest.approx(on_factor.losses, rel=1e-9)
    shares = [batch.share for batch in rows.batches(nn.Linear(4, 1).double(), 1)]
    assert sum(shares) == pytest.approx(1.0)


def test_huber_shrugs_off_an_outlier_that_the_squared_error_follows():
    rows = ROWS.clone()
    rows[5, -1] += 1e3
    split = Split()
    found = {}
    for loss in ("huber", "mse"):
        training = Training(loss=loss, epochs=2000, learning_rate=0.05)
        found[loss] = streamed(parts(rows, 1), training, split)[1].module.intercept
    assert abs(found["huber"] - 3) < 0.5 < abs(found["mse"] - 3)
