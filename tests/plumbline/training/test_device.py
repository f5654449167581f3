"""Devices: chosen by name, refused by name, and the same figures on each."""

import pytest
import torch

from plumbline.config.schema import Split, Training
from plumbline.errors import InputError
from plumbline.linear.compress import compress
from plumbline.linear.summary import combine
from plumbline.training.device import present_devices, resolve_device
from plumbline.training.loop import train_linear
from plumbline.training.model import initial_model
from plumbline.training.objectives import RowObjective
from plumbline.training.plan import make_plan
from plumbline.training.rows import TrainingRows
from tests.plumbline.tools import DTYPES, Rows, dataset, opened, plain_loop, random_rows, write

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
mps = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs an Apple GPU")
ACCELERATORS = [pytest.param("cuda", marks=cuda), pytest.param("mps", marks=mps)]


def known_to(device: str, dtype: str) -> None:
    if device == "mps" and dtype == "float64":
        pytest.skip("mps has no float64")


@each_dtype
def test_the_cpu_is_always_there(dtype):
    assert resolve_device("cpu", dtype) == "cpu"
    assert present_devices()[0] == "cpu"


@each_dtype
def test_auto_is_a_device_that_is_there_and_knows_the_dtype(dtype):
    name = resolve_device("auto", dtype)
    assert name in present_devices()
    assert torch.ones(1, dtype=getattr(torch, dtype), device=name).item() == 1.0


@pytest.mark.skipif(present_devices() != ["cpu"], reason="needs a machine without accelerators")
@each_dtype
def test_auto_is_the_cpu_where_there_is_nothing_else(dtype):
    assert resolve_device("auto", dtype) == "cpu"


@pytest.mark.parametrize("wanted", ["cuda", "cuda:99", "mps", "xpu", "xpu:7"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(wanted):
    named = f"{wanted}:0" if wanted in ("cuda", "xpu") else wanted
    if named in present_devices():
        pytest.skip(f"this machine has {wanted}")
    with pytest.raises(InputError) as caught:
        resolve_device(wanted, "float32")
    message = str(caught.value)
    assert message.startswith("training.device must be a device of this machine (auto, cpu")
    assert f"Got '{wanted}' instead." in message


@mps
def test_float64_is_refused_on_mps():
    with pytest.raises(InputError, match=r"training\.dtype must be float32 on mps"):
        resolve_device("mps", "float64")


@cuda
def test_cuda_without_a_number_is_the_first():
    assert resolve_device("cuda", "float64") == "cuda:0"


@each_dtype
@pytest.mark.parametrize("device", ACCELERATORS)
def test_models_start_alike_on_every_device(device, dtype):
    known_to(device, dtype)
    training = Training(dtype=dtype)
    here, there = (initial_model(3, training, name) for name in ("cpu", device))
    assert torch.equal(here.weight, there.weight.cpu())
    assert torch.equal(here.bias, there.bias.cpu())


@each_dtype
@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
def test_training_there_is_training_here(device, dtype, optimizer):
    known_to(device, dtype)
    rows = random_rows(60, 3)
    training = Training(epochs=50, dtype=dtype, optimizer=optimizer, tolerance=1e-12)
    plan = make_plan(combine([compress(Rows({"a": rows}), "a", Split(), device)]), training)
    found, expected = (
        train_linear(plan, training, name, lambda epoch, loss: None) for name in (device, "cpu")
    )
    assert found.losses == pytest.approx(expected.losses, rel=1e-4, abs=1e-9)
    if optimizer == "sgd":
        assert found.losses == pytest.approx(plain_loop(rows, training), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("device", ACCELERATORS)
def test_a_pass_there_has_the_factor_of_a_pass_here(device):
    source = Rows({"a": random_rows(5_000, 4, far=100.0)}, step=700)
    split = Split(test_fraction=0.2, folds=2)
    there, here = (combine([compress(source, "a", split, name)]) for name in (device, "cpu"))
    for name, factor in here.factors.items():
        assert torch.allclose(there.factors[name].r, factor.r, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("device", ACCELERATORS)
def test_levels_that_appear_late_are_folded_there_too(device, tmp_path):
    levels = ["a", "b"] * 9_000 + ["c", "d"] * 500
    columns = {"g": levels, "y": [float(len(levels) - i) for i in range(len(levels))]}
    source = opened(write(tmp_path / "a.parquet", columns), categorical=["g"])
    there, here = (compress(source, source.parts[0], Split(), name) for name in (device, "cpu"))
    assert torch.allclose(there.train.r, here.train.r, rtol=1e-9, atol=1e-6)


@each_dtype
@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("batch", [None, 16])
def test_streaming_there_is_streaming_here(device, dtype, batch):
    known_to(device, dtype)
    source, split = Rows({"a": random_rows(60, 3)}), Split()
    training = Training(epochs=20, dtype=dtype, loss="huber", batch_size=batch)
    data = dataset(source, split)
    plan = make_plan(data.summary, training)

    def losses_on(name: str) -> list[float]:
        rows = TrainingRows(data, training, plan.standardizer, name)
        return train_linear(plan, training, name, lambda *_: None, RowObjective(rows)).losses

    losses = [losses_on(name) for name in (device, "cpu")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-9)
