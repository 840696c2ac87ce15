"""What the engine of a target would refuse, misread or run slowly in an ONNX, and what of it can be mended.

The rules (export/lint/, listed in docs/lint.md) hold for any ONNX, also one that others
quantized; :func:`fix` mends what can be mended without the float model.
"""

from collections.abc import Callable
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edge_mpq.errors import ExportError, ModelError, TargetError
from edge_mpq.records import document
from edge_mpq.records.target import Target
from export.lint import (
    cpu,
    kernels,
    mend_grids,
    mend_model,
    mend_placement,
    names,
    opsets,
    placement,
    scales,
    typed,
    weights,
)
from export.lint.editing import tidy
from export.lint.finding import SEVERITIES, Finding, Rule
from export.lint.reading import Reading

RULES: list[Rule] = [
    rule for subject in (names, opsets, scales, weights, placement, kernels, typed, cpu) for rule in subject.RULES
]
Mend = Callable[[Reading, Target], None]
# The mends in the order they are done, each with the rules that call for it.  Codes come
# before placement: a Relu that a grid implied must stand again before Q and DQ are taken out.
MENDS: list[tuple[Mend, tuple[str, ...]]] = [
    (mend_model.name_nodes, ("unnamed-node", "duplicate-name")),
    (mend_model.float32, ("double-constant", "double-tensor")),
    (mend_placement.without_integers, ("no-integers",)),
    (mend_model.older_opset, ("opset", "reduction-axes", "operator")),
    (mend_grids.axes, ("axis-unsaid",)),
    (mend_grids.float_biases, ("int32-bias",)),
    (mend_grids.symmetric, ("zero-point", "uint8", "uint8-as-int8")),
    (mend_grids.zero_points, ("zero-point-missing",)),
    (mend_grids.float_weights, ("integer-weights",)),
    (mend_placement.float_outputs, ("rounded-output",)),
    (mend_placement.float_readers, ("rounded-before-activation", "rounded-float-operator")),
    (mend_placement.skip_only, ("add-both-rounded",)),
    (mend_grids.tied, ("concat-scales", "pool-scales")),
]
MENDED = frozenset(name for _, names in MENDS for name in names)


def check(model: onnx.ModelProto, target: Target) -> list[Finding]:
    """Every place in ``model`` that breaks a rule of ``target``, worst first.

    Raises TargetError for the target that deploys nothing.
    """
    if target.backend == "simulation":
        raise TargetError("nothing is deployed for target simulation", "give the board it will run on")
    reading = Reading(model)
    found = [
        Finding(rule.name, rule.severity, node, what, mend, rule.source)
        for rule in RULES
        if rule.holds(target)
        for node, what, mend in rule.find(reading, target)
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def fix(model: onnx.ModelProto, target: Target) -> tuple[onnx.ModelProto, list[Finding]]:
    """A mended copy of ``model``, and the findings that are no more.

    Precision changes only where a grid must: uint8 becomes int8 with a scale that covers the
    same values, so activations of one sign lose up to one bit.
    """
    mended = onnx.ModelProto()
    mended.CopyFrom(model)
    before = check(model, target)
    # Taking out Q and DQ, or writing a Relu, may bring rules into play that had nothing to say.
    for mend, rules in MENDS:
        if {finding.rule for finding in check(mended, target)} & set(rules):
            mend(Reading(mended), target)
            tidy(mended)
    left = {(finding.rule, finding.node) for finding in check(mended, target)}
    return mended, [finding for finding in before if (finding.rule, finding.node) not in left]


def read(path: str | Path) -> onnx.ModelProto:
    """The ONNX at ``path``; ModelError where there is none or it is not whole."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path} is no file", "give the path of an .onnx")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, FileNotFoundError) as error:
        text = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} is no whole ONNX ({text})", "export it again") from error
    if not model.graph.node:
        raise ModelError(f"{path} holds no graph", "export it again")
    return model


def write(path: str | Path, model: onnx.ModelProto) -> None:
    """Write a mended ``model``; ExportError, and no file, for one that is not valid."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the mended model is not valid ({error})", "lint it without --fix") from error
    document.write_bytes(path, model.SerializeToString())


def shown(finding: Finding) -> str:
    """A finding as lines for a person."""
    where = f" {finding.node!r}" if finding.node else ""
    return f"{finding.severity}: {finding.rule}{where}: {finding.what}; {finding.mend} [{finding.source}]"
