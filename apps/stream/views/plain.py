"""The answer alone."""

from apps.stream.views.base import NOTHING

MASK = False


def look(frame, answer):
    """Nothing beside the label."""
    return NOTHING
