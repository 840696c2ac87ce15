"""Immutable records that cross between stages.  Standard library only; Python 3.6."""
