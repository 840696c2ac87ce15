"""The answer alone."""

from apps.stream.views.base import NOTHING

TASKS, FACTS, MASK = ("classify", "segment"), (), False


def look(frame, answer, scene=None):
    """Nothing beside the label."""
    return NOTHING
