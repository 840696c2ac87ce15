"""Parts of a sweep that are kept as files: what was measured once is not measured again.

A part is named after all that it depends on, so that a run with other options does not take it.
"""

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

from edge_mpq.records import document

KIND, VERSION = "tradeoff-part", 1


def kept(out: str, what: str, of: dict[str, Any], kind: type, make: Callable[[], Any]) -> Any:
    """The ``kind`` (a NamedTuple of numbers or rows) that an earlier run kept below ``out``, else made and kept.

    what: ``accuracy``, ``times`` or ``memory``.  of: all that it depends on.  Raises RecordError by name for a
    part that is torn.
    """
    digest = hashlib.sha256(json.dumps([what, of], sort_keys=True).encode()).hexdigest()[:16]
    path = os.path.join(out, "parts", f"{what}-{digest}.json")
    if os.path.isfile(path):
        fields = document.load(path, KIND, VERSION)
        found = document.named(kind, fields.take("found", dict, {}), f"the {what}", fields)
        fields.done()
        return found
    made = make()
    document.save(path, KIND, VERSION, {"of": of, "found": made._asdict()})
    return made
