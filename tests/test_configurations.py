"""The 96 configurations: each axis does what it says, targets drop what they cannot run, export carries the rest."""

import functools

import numpy as np
import pytest
import torch

from edge_mpq import calibration, configurations, placement, simulation
from edge_mpq import graph as ir
from edge_mpq.configurations import AXES, Configurations
from edge_mpq.errors import CalibrationError
from edge_mpq.quantizers.affine import AffineQuantizer
from edge_mpq.records import target as targets
from export import qdq_into_onnx
from tests import toys
from tests.export import exported

CPU, ORIN = "cpu-x86-vnni", "jetson-orin-nano"


@functools.cache
def made(target: str = CPU, kind: str = "residual") -> Configurations:
    plans = {"off": toys.planned(kind, target), "on": toys.planned(kind, target, stem__0=("fp32", "fp32"))}
    return Configurations(toys.graph(kind), plans, targets.get(target), toys.batches(count=3, each=16))


def quantized(target: str = CPU, kind: str = "residual", **values: str) -> torch.fx.GraphModule:
    """The model of a configuration: many pictures, asymmetric or symmetric, max, channel, off, but for ``values``."""
    usual = {"calibration": "many", "scheme": "symmetric", "clipping": "max", "granularity": "channel", "mixed": "off"}
    return made(target, kind).quantized(tuple({**usual, **values}.values()))[0]


def activation_grids(model: torch.fx.GraphModule) -> dict[str, AffineQuantizer]:
    return dict(model.get_submodule(simulation.ACTIVATIONS).named_children())


def weight_grids(model: torch.fx.GraphModule) -> dict[str, AffineQuantizer]:
    return {name: simulation.weight_quantizer(model, name) for name in ir.weighted(model)}


def is_power_of_two(scale: torch.Tensor) -> bool:
    return bool((torch.frexp(scale)[0] == 0.5).all())


def test_there_are_96_on_a_target_of_unsigned_integers():
    assert made().space.axes == AXES
    assert len(set(made().space.configurations())) == 96


def test_tensorrt_drops_what_needs_a_zero_point_or_an_unsigned_code():
    assert made(ORIN).space.axes == {**AXES, "scheme": ("symmetric", "power_of_two")}


def test_an_axis_without_a_second_value_has_one():
    alone = Configurations(
        toys.graph("residual"), {"off": toys.planned("residual", CPU)}, targets.get(CPU), [toys.pictures(1)]
    )
    assert alone.space.axes["mixed"] == ("off",) and alone.space.axes["calibration"] == ("one",)
    with pytest.raises(CalibrationError, match="no calibration picture"):
        Configurations(toys.graph("residual"), {}, targets.get(CPU), [])


def test_few_pictures_are_the_first_tenth_of_many():
    batches = toys.batches(count=3, each=16)
    parts = {name: torch.cat(found) for name, found in configurations.pictures_of(batches).items()}
    assert {name: len(found) for name, found in parts.items()} == {"one": 1, "few": 4, "many": 48}
    assert torch.equal(parts["few"], torch.cat(batches)[:4]) and torch.equal(parts["many"], torch.cat(batches))


def test_symmetric_grids_of_unsigned_codes_have_their_zero_in_the_middle():
    for grid in activation_grids(quantized()).values():
        assert grid.zero.item() == 128 and not grid.symmetric


def test_where_nothing_is_negative_the_unsigned_scheme_is_twice_as_fine():
    symmetric, unsigned = (activation_grids(quantized(scheme=name)) for name in ("symmetric", "symmetric_uint8"))
    zeros = {name: grid.zero.item() for name, grid in unsigned.items()}
    assert set(zeros.values()) == {0, 128} and zeros["pictures"] == 128
    for name, zero in zeros.items():
        ratio = (symmetric[name].scale / unsigned[name].scale).item()
        assert ratio == pytest.approx(255 / 127 if zero == 0 else 1, rel=1e-5)


def test_the_asymmetric_scheme_is_what_the_target_does_by_itself():
    found = activation_grids(quantized(scheme="asymmetric"))
    graph, plan = toys.graph("residual"), toys.planned("residual", CPU)
    ranges = calibration.ranges_of(graph, placement.every_tensor(graph), toys.batches(count=3, each=16))
    plain = activation_grids(simulation.simulate(graph, plan, targets.get(CPU), ranges))
    assert found.keys() == plain.keys()
    assert all(found[name].scale == plain[name].scale and found[name].zero == plain[name].zero for name in found)


@pytest.mark.parametrize("target", [CPU, ORIN])
def test_power_of_two_scales_are_the_next_ones_up(target):
    plain, powers = quantized(target), quantized(target, scheme="power_of_two")
    for grids in (activation_grids, weight_grids):
        before, after = grids(plain), grids(powers)
        for name, grid in after.items():
            assert is_power_of_two(grid.scale) and grid.zero.eq(before[name].zero).all()
            ratio = grid.scale / before[name].scale
            assert (ratio > 1 - 1e-6).all() and (ratio < 2).all()
    assert not all(is_power_of_two(grid.scale) for grid in activation_grids(plain).values())


def test_a_power_of_two_is_its_own_and_others_go_up():
    values = torch.tensor([0.25, 0.26, 1.0, 3.0, 2.0**-20])
    assert configurations.power_of_two(values).tolist() == [0.25, 0.5, 1.0, 4.0, 2.0**-20]


def test_per_tensor_weights_share_the_widest_channel_s_scale():
    for name, grid in weight_grids(quantized(granularity="tensor")).items():
        channels = weight_grids(quantized())[name].scale
        assert (grid.scale == channels.max()).all() and len(grid.scale) == len(channels)


def test_kl_clips_and_max_does_not():
    whole, clipped = activation_grids(quantized()), activation_grids(quantized(clipping="kl"))
    assert all(clipped[name].scale <= whole[name].scale * (1 + 1e-6) for name in whole)
    assert any(clipped[name].scale < 0.9 * whole[name].scale for name in whole)


def test_more_pictures_never_narrow_a_range():
    one, few, many = (activation_grids(quantized(calibration=name)) for name in ("one", "few", "many"))
    assert made().space.axes["calibration"] == AXES["calibration"]
    assert all(one[name].scale <= few[name].scale <= many[name].scale for name in many)
    assert any(one[name].scale < many[name].scale for name in many)


def test_mixed_keeps_the_layers_of_its_plan_float():
    grids = weight_grids(quantized(mixed="on"))
    assert [name for name, grid in grids.items() if grid is None] == ["stem.0"]


@pytest.mark.parametrize("scheme", AXES["scheme"])
@pytest.mark.parametrize("granularity", AXES["granularity"])
def test_what_is_simulated_is_what_the_onnx_computes(scheme, granularity):
    model = quantized(scheme=scheme, granularity=granularity)
    plan, target = made().plans["off"], targets.get(CPU)
    onnx = qdq_into_onnx.insert(
        exported.float_onnx("residual", target.opset), toys.graph("residual"), model, plan, target
    )
    x = toys.pictures(64, seed=7)
    exported.agree(model, exported.answers(onnx, x), x)


def test_coarse_weights_cost_more_where_channels_are_of_unlike_size():
    x = toys.pictures(64, seed=7)
    wide = ir.copied(toys.graph("residual"))
    depthwise = ir.attribute(wide, "depthwise.0.weight").detach().clone()
    depthwise[::2] *= 100
    ir.set_parameter(wide, "depthwise.0.weight", depthwise)
    spread = [configurations.features_of(graph)["weight_spread_bits"] for graph in (toys.graph("residual"), wide)]
    assert spread[1] > spread[0]
    errors = []
    for graph in (toys.graph("residual"), wide):
        found = Configurations(graph, {"off": toys.planned("residual", CPU)}, targets.get(CPU), toys.batches())
        with torch.no_grad():
            models = [found.quantized(("many", "asymmetric", "max", name, "off"))[0] for name in ("tensor", "channel")]
            tensor, channel = ((model(x) - graph(x)).pow(2).mean().item() for model in models)
        errors.append(tensor / channel)
    assert errors[1] > errors[0] and np.isfinite(errors).all()
