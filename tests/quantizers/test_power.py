"""Powers of integers: where they win, where they must not, and that no engine is told it runs them."""

import pytest
import torch

from edge_mpq.errors import ExportError
from edge_mpq.quantizers import affine, power
from edge_mpq.quantizers.affine import weight_range
from edge_mpq.reconstruction import Options
from edge_mpq.records import formats
from edge_mpq.rounding.learned import Rule
from tests import toys
from tests.export import exported

BITS = (5, 4, 3)


def error(module: torch.nn.Module, values: torch.Tensor) -> float:
    return (module(values) - values).double().square().mean().item()


def uniform(form: formats.Format, weight: torch.Tensor) -> torch.nn.Module:
    return affine.quantizer(form, *weight_range(weight, 0), True, 0)


def drawn(kind: str, seed: int) -> torch.Tensor:
    """A weight [16, 256]: heaped on zero with long tails, or spread evenly over its range."""
    draw = torch.Generator().manual_seed(seed)
    flat = 2 * torch.rand(16, 256, generator=draw) - 1
    return flat if kind == "even" else -torch.sign(flat) * torch.log1p(-flat.abs() * (1 - 1e-6))


@pytest.mark.parametrize("bits", BITS)
def test_heaped_weights_gain_and_even_ones_do_not(bits):
    form = formats.get(f"int{bits}")
    for seed in range(3):
        heaped, even = drawn("heaped", seed), drawn("even", seed)
        assert error(power.fitted(form, heaped, 0), heaped) < 0.8 * error(uniform(form, heaped), heaped)
        assert error(power.fitted(form, even, 0), even) > 0.95 * error(uniform(form, even), even)


def test_an_exponent_of_one_is_the_uniform_grid_and_a_smaller_one_has_more_points_near_zero():
    form, weight = formats.get("int4"), drawn("heaped", 0)
    straight = power.quantizer(form, *weight_range(weight, 0), True, 0, 1.0)
    assert torch.allclose(straight(weight), uniform(form, weight)(weight), atol=1e-6)
    codes = torch.arange(-7.0, 8).expand(16, -1)
    bent = power.quantizer(form, *weight_range(weight, 0), True, 0, 0.5)
    points = bent.points(codes, bent.scale)
    assert (points.diff(dim=1) > 0).all() and (points.diff(dim=1)[:, 7:].diff(dim=1) > 0).all()
    assert torch.allclose(bent.units(points), codes, atol=1e-4)


def test_what_no_engine_runs_is_not_exported():
    plan = toys.planned("residual", "cpu-x86-vnni", "int4", "int8")
    rule = Rule(Options(grid="power", iterations=2))
    with pytest.raises(ExportError, match="powers that layer 'stem.0'.*uniform grid"):
        exported.deployed("residual", plan, rule)
    assert exported.deployed("residual", plan, Rule(Options(iterations=2)))[1].graph.node
