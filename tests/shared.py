"""Where the development data lies, if it lies anywhere: tests that need it skip without."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("EDGE_MPQ_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared_file(name: str) -> Path:
    """The path of a development file; skips the calling test when it is not there."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not in {SHARED}; set EDGE_MPQ_SHARED to the folder that holds it")
    return path
