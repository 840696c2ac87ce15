"""What a view is given, and what it gives."""

from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Tuple, Union


class View(NamedTuple):
    """What is told of one answer beside its label.

    facts: name -> number or text, in the order in which they are written on the picture and in
    lines of JSON.  boxes: (left, top, wide, high, text), in pixels of the frame.
    """

    facts: Mapping[str, Union[float, str]] = {}
    boxes: List[Tuple[int, int, int, int, str]] = []


class Scene(NamedTuple):
    """What does not change from frame to frame.

    classes: labels of the bundle, maybe none.  watched: number of the class that matters.
    ground: Frame -> the Ground (apps/stream/watch/ground.py) in it, or None where it is not known.
    """

    classes: List[str] = []
    watched: int = 1
    ground: Callable[[Any], Optional[Any]] = lambda frame: None

    @property
    def label(self):
        """What the watched class is called."""
        return str(self.classes[self.watched]) if self.classes else "class {}".format(self.watched)


NOTHING = View()
