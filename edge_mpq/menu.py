"""Which formats each layer may take on a target."""

from collections.abc import Collection, Sequence

from edge_mpq.cost import Menu, Pair
from edge_mpq.eligibility import worth_int8
from edge_mpq.errors import PlanError
from edge_mpq.quantizers import blocks
from edge_mpq.records import formats
from edge_mpq.records.layer import LayerSpec
from edge_mpq.records.target import Target

FLOAT = ("fp32", "fp32")
# What a plan chooses from unless told otherwise: formats that tensors are stored in.
USUAL = ("fp32", "fp16", "w8a8", "w4a8")


def parse(name: str) -> Pair:
    """The pair that a short name means: ``w4a8`` -> (int4, int8), ``fp16`` -> (fp16, fp16).

    Block-wise weights leave activations alone: ``w4b32`` -> (int4b32, fp32), ``u4b32`` -> (uint4b32, fp32).
    """
    if name in formats.FORMATS:
        return name, name
    blocked = {"w": "int", "u": "uint"}.get(name[:1], "") + name[1:]
    if "b" in name and formats.is_known(blocked):
        return blocked, "fp32"
    weight, _, activation = name[1:].partition("a")
    if name.startswith("w") and weight.isdigit() and activation.isdigit():
        pair = "int" + weight, "fp32" if activation == "32" else "int" + activation
        if all(form in formats.FORMATS for form in pair):
            return pair
    known = ", ".join(formats.FORMATS)
    raise PlanError(f"there is no format {name!r}", f"write w8a8, w4a8, w4b32, ... or one of {known}")


def runnable(target: Target, names: Sequence[str] | None = None) -> list[Pair]:
    """The pairs of ``names`` (of USUAL without) that ``target`` runs, widest first; PlanError where it runs none."""
    pairs = [parse(name) for name in names or USUAL]
    runs = [pair for pair in pairs if pair[0] in target.weight_formats and pair[1] in target.activation_formats]
    if not runs:
        asked = ", ".join(names or USUAL)
        stored = formats.shown(target.weight_formats)
        raise PlanError(f"{target.name} runs none of {asked}", f"it runs weights in {stored}")
    return sorted(runs, key=lambda pair: (formats.get(pair[0]).bits, formats.get(pair[1]).bits), reverse=True)


def menu_of(
    layers: Sequence[LayerSpec], target: Target, names: Sequence[str] | None = None, keep: Collection[str] = ()
) -> Menu:
    """layer -> pairs it may take, widest first; ``names`` restricts them (``w8a8``, ``fp16``).

    keep: layers that take fp32 and nothing else, with all that are tied to them offered it too.
    Raises PlanError when the target runs none of ``names``.
    """
    runs = runnable(target, names)
    menu = {layer.name: [FLOAT] if layer.name in keep else _without_kernel(layer, runs, target) for layer in layers}
    # A layer that must stay float takes those tied to it along.
    bound = {layer.tie for layer in layers if layer.tie is not None and menu[layer.name] == [FLOAT]}
    return {
        layer.name: [FLOAT, *menu[layer.name]]
        if layer.tie in bound and FLOAT not in menu[layer.name]
        else menu[layer.name]
        for layer in layers
    }


def _without_kernel(layer: LayerSpec, pairs: list[Pair], target: Target) -> list[Pair]:
    """The pairs that the target has a kernel for with this kind of layer."""
    pairs = [pair for pair in pairs if blocks.fits(layer, formats.get(pair[0]))] or [FLOAT]
    if target.backend == "onnxruntime" and layer.kind == "conv_transpose2d":
        # ONNX Runtime's CPU provider has no integer transposed convolution.
        return [FLOAT]
    floats = [pair for pair in pairs if formats.get(pair[1]).is_float]
    if target.backend == "tensorrt" and floats and layer.kind.startswith("conv") and not _eats_channels(layer):
        return floats
    return pairs


def _eats_channels(layer: LayerSpec) -> bool:
    """Whether a convolution has the channels that integer kernels of a GPU want."""
    transposed = layer.kind == "conv_transpose2d"
    inputs, outputs = layer.weight_shape[0], layer.weight_shape[1] * layer.groups
    if not transposed:
        inputs, outputs = layer.weight_shape[1] * layer.groups, layer.weight_shape[0]
    return worth_int8(inputs, outputs, layer.groups, layer.weight_shape[2:], first=inputs <= 4)
