"""PrecisionPlan: which format each layer's weights and activations take, and why."""

from typing import Dict, NamedTuple, Tuple

from edge_mpq.errors import PlanError, RecordError
from edge_mpq.records import document, formats
from edge_mpq.records.layer import fingerprint

KIND, VERSION = "plan", 1


class Choice(NamedTuple):
    """The formats of one layer, and the reason in one line of prose."""

    weight: str
    activation: str
    why: str = ""


class PrecisionPlan(NamedTuple):
    """layer name -> Choice, in the model's order.

    model: fingerprint of the layers it was made for.  target: name of a target.
    budget: as the user wrote it.  sensitivity, allocator: names of the methods.
    predicted: what the planner expects, with units in the keys (``size_mib``,
    ``weight_bits``, ``latency_ms``, ``harm``), compared with what is measured later; and ``trials``,
    how many whole models a budget of accuracy took.
    transforms: names of the rewrites the float model goes through first, in order.
    """

    model: str
    target: str
    choices: Dict[str, Choice]
    budget: str = ""
    sensitivity: str = ""
    allocator: str = ""
    predicted: Dict[str, float] = {}
    transforms: Tuple[str, ...] = ()

    def check(self, layers, target):
        """Raise PlanError with every fault of this plan for these layers and this target."""
        faults = []
        mine, theirs = list(self.choices), [layer.name for layer in layers]
        for name in mine:
            if name not in theirs:
                faults.append("layer {!r} is not in the model".format(name))
        for name in theirs:
            if name not in self.choices:
                faults.append("layer {!r} of the model is not in the plan".format(name))
        if not faults and self.model != fingerprint(layers):
            faults.append("the model's layer shapes differ from those planned for")
        if self.target != target.name:
            faults.append("it was made for target {}, not {}".format(self.target, target.name))
        for name, choice in self.choices.items():
            for role, asked, runs in (
                ("weights", choice.weight, target.weight_formats),
                ("activations", choice.activation, target.activation_formats),
            ):
                if not formats.is_known(asked):
                    faults.append("layer {!r} asks for unknown format {!r}".format(name, asked))
                elif asked not in runs:
                    there = formats.shown(runs)
                    faults.append("layer {!r} asks for {} {}, {} runs {}".format(name, asked, role, target.name, there))
        first: Dict[str, str] = {}
        for layer in layers:
            if layer.tie is None or layer.name not in self.choices:
                continue
            other = first.setdefault(layer.tie, layer.name)
            if self.choices[other][:2] != self.choices[layer.name][:2]:
                faults.append("layers {!r} and {!r} are tied but differ".format(other, layer.name))
        if faults:
            shown = faults[:8] + (["and {} more".format(len(faults) - 8)] if len(faults) > 8 else [])
            raise PlanError(
                "plan does not fit: " + "; ".join(shown), "plan again for this model with --target " + target.name
            )


def uniform(layers, target, weight, activation, why="uniform"):
    """The plan that gives every layer the same formats."""
    choices = {layer.name: Choice(weight, activation, why) for layer in layers}
    return PrecisionPlan(model=fingerprint(layers), target=target.name, choices=choices, budget="none")


def weight_bits(plan, layers):
    """Average nominal bits a weight under the plan (biases not counted)."""
    total = sum(layer.weights for layer in layers)
    spent = sum(layer.weights * formats.get(plan.choices[layer.name].weight).bits for layer in layers)
    return spent / float(total)


def to_json(plan):
    """The plan as a dict of JSON values, without kind and version."""
    layers = [dict(layer=name, **choice._asdict()) for name, choice in plan.choices.items()]
    return dict(plan._asdict(), choices=layers, transforms=list(plan.transforms))


def save(path, plan):
    """Write the plan to ``path``."""
    document.save(path, KIND, VERSION, to_json(plan))


def load(path):
    """Read a plan; RecordError names every fault."""
    return from_fields(document.load(path, KIND, VERSION))


def from_fields(fields):
    """The plan in ``fields`` of a decoded record."""
    choices: Dict[str, Choice] = {}
    for index, row in enumerate(fields.take("choices", list, [])):
        inner = document.Fields(row, "choice {}".format(index))
        name = inner.take("layer", str)
        choice = Choice(inner.take("weight", str), inner.take("activation", str), inner.take("why", str))
        try:
            inner.done()
        except RecordError as error:
            fields.fault(error.what)
            continue
        if name in choices:
            fields.fault("layer {!r} stands twice".format(name))
        choices[name] = choice
    predicted = fields.take("predicted", dict, {})
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in predicted.values()):
        fields.fault("field 'predicted' holds something that is no number")
    transforms = fields.take("transforms", list, [])
    if not all(isinstance(name, str) for name in transforms):
        fields.fault("field 'transforms' holds something that is no name")
    plan = PrecisionPlan(
        model=fields.take("model", str),
        target=fields.take("target", str),
        choices=choices,
        budget=fields.take("budget", str),
        sensitivity=fields.take("sensitivity", str),
        allocator=fields.take("allocator", str),
        predicted=predicted,
        transforms=tuple(transforms),
    )
    fields.done()
    return plan


def describe(choice):
    # type: (Choice) -> str
    """The short name of a choice: ``w4a8``, ``fp16``, ``w4b32``; used on strips and tables."""
    weight, activation = formats.get(choice.weight), formats.get(choice.activation)
    if weight.block and choice.activation == "fp32":
        return "{}{}b{}".format("u" if weight.unsigned else "w", weight.bits, weight.block)
    if choice.weight == choice.activation and weight.is_float:
        return weight.name
    return "w{}a{}".format(weight.bits, activation.bits)
