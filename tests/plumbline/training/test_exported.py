"""An exported module predicts the same, for any number of rows, where its code is not."""

import io
import pickle
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from plumbline.linear.problem import Standardizer
from plumbline.training.exported import Exported, export
from plumbline.training.model import RawModel
from plumbline.training.nets import MLP
from tests.plumbline.tools import ROOT

ELSEWHERE = """
import pickle, sys, torch
module, rows, expected = pickle.load(sys.stdin.buffer)
assert torch.equal(module(rows), expected)
assert not [name for name in sys.modules if name.startswith("tests")]
"""


class Normed(nn.Module):
    """Layers that draw and that normalise, as a user may write them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.last = nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.last(self.drop(self.norm(features)))


def trained(kind: str) -> RawModel:
    """A net as training leaves it."""
    torch.manual_seed(0)
    net = Normed() if kind == "norm" else MLP(3, [], 1, [8, 4], "relu", 0.2)
    net(torch.randn(50, 3))  # moves the running means
    standardizer = Standardizer(torch.ones(3).double(), 2 * torch.ones(3).double(), 5.0, 3.0)
    return RawModel(net.eval(), standardizer, (0.0, 9.0) if kind == "mlp" else None)


def test_a_net_with_vectors_for_levels_is_exported_and_the_reference_has_none() -> None:
    torch.manual_seed(0)
    net = MLP(2, [1, 40, 3], 1, [8], ensemble=2).eval()
    indicators = torch.zeros(42, 44)
    indicators[:40, 1:41] = torch.eye(40)  # every level of the second column, and twice none
    rows = torch.cat([torch.randn(1, 2).expand(42, 2), indicators], dim=1)
    vectors = net.levels[0](indicators[:, 1:41])
    assert torch.equal(vectors[:, :40], net.levels[0].weight)
    assert not vectors[:, 40:].any()
    module = RawModel(net, Standardizer(torch.zeros(46).double(), torch.ones(46).double()), None)
    again = Exported(export(module, 46))
    assert torch.equal(again(rows.double()), module(rows.double()))
    assert len({*again(rows.double())[:41, 0].tolist()}) == 41


@pytest.mark.parametrize("kind", ["mlp", "norm"])
def test_it_predicts_the_same_for_any_number_of_rows_also_when_stored_again(kind: str) -> None:
    module = trained(kind)
    content = export(module, 3)
    again = Exported(content)
    for rows in (1, 2, 3, 1000):
        features = 10 * torch.randn(rows, 3, dtype=torch.float64)
        assert torch.equal(again(features), module(features))
    assert export(again, 3) == content


def test_it_travels_to_a_process_that_has_not_its_code(tmp_path: Path) -> None:
    module = trained("norm")
    rows = torch.randn(7, 3, dtype=torch.float64)
    sent = pickle.dumps((Exported(export(module, 3)), rows, module(rows).detach()))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], input=sent, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_file_holds_no_pickle() -> None:
    with zipfile.ZipFile(io.BytesIO(export(trained("mlp"), 3))) as archive:
        names = archive.namelist()
        assert not [name for name in names if archive.read(name)[:2] in (b"\x80\x02", b"\x80\x04")]
    assert not [name for name in names if name.endswith((".pkl", ".pickle"))]


def test_threads_may_load_and_export_at_once() -> None:
    """A sweep's trials come back in threads; torch's own loader fails then."""
    module, rows = trained("norm"), torch.randn(5, 3, dtype=torch.float64)
    content = export(module, 3)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: Exported(export(module, 3))(rows), range(4)))
        loaded += pool.map(lambda _: Exported(content)(rows), range(4))
    assert all(torch.equal(each, module(rows)) for each in loaded)
