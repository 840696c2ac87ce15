"""Several processes: the parts of a batch, and two real ones against one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edge_mpq.training.distributed import Processes, join, synchronized
from tests.pages import ROOT
from tests.toys import Residual
from tests.training.learning import fitted, made, plain


def _process(rank: int, count: int) -> Processes:
    return Processes(SimpleNamespace(global_rank=rank, world_size=count))  # type: ignore[arg-type]


@pytest.mark.parametrize(("pictures", "count"), [(8, 2), (7, 2), (9, 4), (1, 2), (2, 3)])
def test_the_parts_of_a_batch_are_all_of_it_and_their_mean_is_its_mean(pictures: int, count: int) -> None:
    inputs = torch.randn(pictures, 3)
    shares = [_process(rank, count).share(inputs, inputs[:, 0]) for rank in range(count)]
    mean = sum(part.mean(0) * weight for part, _, weight in shares) / count
    torch.testing.assert_close(mean, inputs.mean(0))
    assert sum(len(part) for part, _, weight in shares if weight) == pictures
    assert all(len(part) and torch.equal(part[:, 0], labels) for part, labels, _ in shares)


def test_alone_there_is_nothing_to_join() -> None:
    assert join() is None
    alone = Processes()
    assert alone.leads and alone.count == 1
    model = plain()
    assert alone.wrapped(model) is model


def test_batch_norms_come_back_as_they_were_with_what_their_stand_ins_learned() -> None:
    model = Residual().train()
    kinds = {name: type(module) for name, module in model.named_modules()}
    with synchronized(model, torch.device("cuda"), _process(0, 2)):
        inside = [module for module in model.modules() if isinstance(module, nn.SyncBatchNorm)]
        assert len(inside) == sum(kind is nn.BatchNorm2d for kind in kinds.values()) > 0
        inside[0].running_mean.fill_(5.0)
        inside[0].weight.data.fill_(7.0)
    assert {name: type(module) for name, module in model.named_modules()} == kinds
    assert (model.stem[1].running_mean == 5).all() and (model.stem[1].weight == 7).all()
    with synchronized(model, torch.device("cpu"), _process(0, 2)):
        assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo and torchrun of POSIX")
def test_two_processes_learn_as_one_does(tmp_path: Path) -> None:
    file = tmp_path / "together.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "-m", "tests.training.learning", "together", str(file)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"together.json.{rank}").read_text()) for rank in range(2))
    model = made(plain)
    alone = fitted(model)
    assert first["loss"] == second["loss"] == pytest.approx([epoch.loss for epoch in alone], abs=1e-4)
    assert first["weights"] == second["weights"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(torch.tensor(first["weights"][name]), value, atol=2e-3, rtol=0)
    for told in (first, second):  # stopped in the middle of an epoch and resumed
        assert told["logs"][0] == told["logs"][1] and not told["unlike"]
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == ["last.safetensors"]
