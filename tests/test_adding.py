"""The example of docs/adding.md is a method: it loads by a dotted name and keeps the laws."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_mpq.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "adding.md"

LAWS = """
import sys
import pytest
from edge_mpq import observers
observers.names = lambda: ["mylab.rms"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "mylab", "tests/laws/test_observers.py"]))
"""


@pytest.fixture
def mylab(tmp_path: Path) -> Path:
    """A folder that holds the page's example as mylab/rms.py."""
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert example.count("\n") < 30
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "rms.py").write_text(example, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_the_example_keeps_every_law_of_observers(mylab: Path) -> None:
    pytest.importorskip("torch")
    environment = {**os.environ, "PYTHONPATH": f"{mylab}{os.pathsep}{ROOT}", "PYTEST_XDIST_WORKER": ""}
    done = subprocess.run(
        [sys.executable, "-c", LAWS], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"\b[1-9]\d* passed", done.stdout)


def test_a_method_that_cannot_be_imported_is_a_usage_error() -> None:
    pytest.importorskip("torch")
    from edge_mpq import observers

    with pytest.raises(UsageError, match="cannot import observers 'mylab.nothing'.*is it on PYTHONPATH"):
        observers.get("mylab.nothing")


def test_every_family_of_the_page_has_its_folder_and_its_laws() -> None:
    table = re.findall(r"^\| [a-z ]+ \| `([a-z_/]+)` \|.*\| `(tests/[a-z_/]+\.py)` \|$", PAGE.read_text(), re.MULTILINE)
    assert len(table) == 10
    assert [path for row in table for path in row if not (ROOT / path).exists()] == []
