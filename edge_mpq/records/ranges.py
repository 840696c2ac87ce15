"""RangeTable: the range of values each quantized tensor takes, and where it was measured."""

from typing import Dict, NamedTuple, Tuple

from edge_mpq.records import document

KIND, VERSION = "ranges", 1


class RangeTable(NamedTuple):
    """tensor name -> (low, high), in the units of the tensor.

    rule: the observer that measured them.  pictures: how many it saw.  data: a short
    fingerprint of those pictures and their preprocessing.
    """

    tensors: Dict[str, Tuple[float, float]]
    rule: str
    pictures: int
    data: str = ""


def save(path, table):
    """Write the table to ``path``."""
    tensors = {name: [low, high] for name, (low, high) in table.tensors.items()}
    document.save(path, KIND, VERSION, dict(table._asdict(), tensors=tensors))


def load(path):
    """Read a table; RecordError names every fault."""
    fields = document.load(path, KIND, VERSION)
    tensors: Dict[str, Tuple[float, float]] = {}
    for name, pair in fields.take("tensors", dict, {}).items():
        numbers = isinstance(pair, list) and len(pair) == 2
        if not numbers or not all(isinstance(end, (int, float)) and abs(end) < 1e38 for end in pair):
            fields.fault("range of {!r} is not two finite numbers".format(name))
        elif not pair[0] <= pair[1]:
            fields.fault("range of {!r} runs backwards".format(name))
        else:
            tensors[name] = (float(pair[0]), float(pair[1]))
    table = RangeTable(tensors, fields.take("rule", str), fields.take("pictures", int), fields.take("data", str))
    fields.done()
    return table
