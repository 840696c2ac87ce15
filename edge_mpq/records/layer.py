"""LayerSpec: what planning knows of one layer, and nothing of the framework it came from."""

import hashlib
from typing import NamedTuple, Optional, Tuple

from edge_mpq.records.document import Fields


class LayerSpec(NamedTuple):
    """One weighted layer, sized for one picture (batch 1).

    kind: conv1d, conv2d, conv_transpose2d, linear.  input_shape and output_shape
    leave out the batch.  macs: multiply-adds for one picture.  groups: of a grouped or
    depthwise convolution, else 1.  tie: layers with the same tie take one decision
    (inputs of one Concat, projections that read one tensor); None stands alone.
    """

    name: str
    kind: str
    weight_shape: Tuple[int, ...]
    input_shape: Tuple[int, ...]
    output_shape: Tuple[int, ...]
    macs: int
    groups: int = 1
    tie: Optional[str] = None

    @property
    def weights(self):
        """How many weights (biases are kept in higher precision and not counted)."""
        return _product(self.weight_shape)

    @property
    def activations(self):
        """How many values the layer reads and writes for one picture."""
        return _product(self.input_shape) + _product(self.output_shape)


def _product(shape):
    size = 1
    for extent in shape:
        size *= extent
    return size


def fingerprint(layers):
    """16 hex digits that tell one model's layers from another's: names and weight shapes."""
    text = "\n".join("{} {} {}".format(layer.name, layer.kind, layer.weight_shape) for layer in layers)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def layer_to_json(layer):
    """A layer as a dict of JSON values."""
    return dict(
        layer._asdict(),
        weight_shape=list(layer.weight_shape),
        input_shape=list(layer.input_shape),
        output_shape=list(layer.output_shape),
    )


def layer_from_json(body, where):
    """The layer in a decoded JSON object; RecordError names every fault."""
    fields = Fields(body, where)
    shapes = {}
    for name in ("weight_shape", "input_shape", "output_shape"):
        extents = fields.take(name, list, [])
        if not all(isinstance(extent, int) and extent > 0 for extent in extents):
            fields.fault("field {!r} is not a list of positive integers".format(name))
        shapes[name] = tuple(extents)
    layer = LayerSpec(
        name=fields.take("name", str),
        kind=fields.take("kind", str),
        macs=fields.take("macs", int),
        groups=fields.take("groups", int),
        tie=fields.take("tie", str, optional=True),
        **shapes,
    )
    fields.done()
    return layer
