"""What a view gives."""

from typing import Dict, List, NamedTuple, Tuple, Union


class View(NamedTuple):
    """What is told of one answer beside its label.

    facts: name -> number or text, in the order in which they are written on the picture and in
    lines of JSON.  boxes: (left, top, wide, high, text), in pixels of the frame.
    """

    facts: Dict[str, Union[float, str]] = {}
    boxes: List[Tuple[int, int, int, int, str]] = []


NOTHING = View()
