"""Trials in this process, in processes of this machine, and on a real cluster: the same answers in the same order."""

import functools
import os
import sys
import time
from collections.abc import Iterator

import pytest
import torch

from edge_mpq import trials
from edge_mpq.errors import PlanError, UsageError


def norm_and_place(seed: int) -> tuple[float, int]:
    """Something of torch, later for earlier items; and the process it ran in."""
    time.sleep(0.05 if seed == 0 else 0.0)
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(100, generator=draw).norm().item(), os.getpid()


def refuse(value: int) -> int:
    if value == 2:
        raise PlanError("no plan fits", "raise the budget")
    if value == 3:
        raise ZeroDivisionError("division by zero")
    return value


@functools.cache
def _expected() -> list[float]:
    return [norm_and_place(seed)[0] for seed in range(6)]


def _counted(items: object, what: str, total: int | None = None) -> Iterator[object]:
    seen = list(items)  # type: ignore[call-overload]
    assert (what, total) == ("trials", len(seen))
    return iter(seen)


def test_one_worker_is_this_process() -> None:
    results = trials.run(norm_and_place, range(6), progress=_counted)
    assert results == [(value, os.getpid()) for value in _expected()]


def test_two_workers_give_the_same_in_the_same_order() -> None:
    results = trials.run(norm_and_place, range(6), workers=2, progress=_counted)
    assert [value for value, _ in results] == _expected()
    assert os.getpid() not in {place for _, place in results}


def test_a_closure_over_a_model_can_be_tried() -> None:
    model = torch.nn.Linear(3, 1).requires_grad_(False)
    scaled = [1.0, 2.0, 3.0]
    results = trials.run(lambda factor: model(torch.full((1, 3), factor)).item(), scaled, workers=2)
    assert results == [model(torch.full((1, 3), factor)).item() for factor in scaled]


def test_an_error_names_its_trial() -> None:
    with pytest.raises(PlanError, match=r"trial 2 \(2\): no plan fits; raise the budget"):
        trials.run(refuse, [0, 1, 2])
    with pytest.raises(RuntimeError, match=r"trial 1 \(3\): ZeroDivisionError: division by zero"):
        trials.run(refuse, [0, 3])


def test_an_error_of_another_process_names_its_trial() -> None:
    with pytest.raises(PlanError, match=r"trial 2 \(2\): no plan fits; raise the budget"):
        trials.run(refuse, [0, 1, 2], workers=2)


@pytest.mark.parametrize(
    ("cluster", "told"),
    [
        ("slurm://host:1", "'slurm://host:1' is no cluster; give dask://host:port or ray://host:port"),
        ("dask://", "is no cluster"),
        ("dask://127.0.0.1:1", "cannot reach dask://127.0.0.1:1"),
    ],
)
def test_a_cluster_that_is_none_is_refused(cluster: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(trials, "CONNECT_S", 1)
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        trials.run(norm_and_place, range(2), cluster=cluster)


@pytest.mark.parametrize(("scheme", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_cluster_whose_package_is_missing_says_which(
    scheme: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"{scheme}://h:1 needs {module}, which is not here; pip install"):
        trials.run(norm_and_place, range(2), cluster=f"{scheme}://h:1")


def test_no_workers_are_refused() -> None:
    with pytest.raises(UsageError, match="0 workers"):
        trials.run(norm_and_place, range(2), workers=0)


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_in_the_same_order() -> None:
    distributed = pytest.importorskip("distributed")
    options = dict(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None)
    with distributed.LocalCluster(host="127.0.0.1", **options) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        results = trials.run(norm_and_place, range(6), cluster=address, progress=_counted)
        assert [value for value, _ in results] == _expected()
        assert os.getpid() not in {place for _, place in results}
        with pytest.raises(PlanError, match=r"trial 2 \(2\): no plan fits; raise the budget"):
            trials.run(refuse, [0, 1, 2], cluster=address)
