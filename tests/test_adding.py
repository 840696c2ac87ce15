"""The examples of docs/adding.md are methods: they load by a dotted name and keep the laws."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps.stream import run
from edge_mpq.errors import UsageError
from tests.stream.scripted import SIZE, write_bundle

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "adding.md"

LAWS = """
import sys
import pytest
from {package} import {family}
{family}.names = lambda: {names!r}
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "mylab", "tests/laws/test_{family}.py"]))
"""


@pytest.fixture
def mylab(tmp_path: Path) -> Path:
    """A folder that holds the page's examples: mylab/rms.py, and mylab/smoke.py, a view."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mylab").mkdir()
    for name, example in zip(("rms", "smoke"), (block for block in blocks if block.startswith('"""')), strict=True):
        assert example.count("\n") < 30
        (tmp_path / "mylab" / f"{name}.py").write_text(example, encoding="utf-8")
    return tmp_path


def _keeps_the_laws(mylab: Path, package: str, family: str, names: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{mylab}{os.pathsep}{ROOT}", "PYTEST_XDIST_WORKER": ""}
    laws = LAWS.format(package=package, family=family, names=names)
    done = subprocess.run(
        [sys.executable, "-c", laws], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"\b[1-9]\d* passed", done.stdout)


@pytest.mark.slow
def test_the_example_keeps_every_law_of_observers(mylab: Path) -> None:
    pytest.importorskip("torch")
    _keeps_the_laws(mylab, "edge_mpq", "observers", ["mylab.rms"])


def test_the_example_keeps_every_law_of_views(mylab: Path) -> None:
    # The law of another task names a view that is for it.
    _keeps_the_laws(mylab, "apps.stream", "views", ["mylab.smoke", "plain"])


def test_the_example_of_a_view_runs(mylab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.full((1, 1, SIZE, SIZE), 3, np.float32)
    folder = write_bundle(tmp_path / "bundle", logits, "segment")
    monkeypatch.syspath_prepend(str(mylab))
    words = ["--headless", "--backend", "replay", "--frames", "2", "--jsonl", str(tmp_path / "out.jsonl")]
    assert run.main([str(folder), "--source", "synthetic", "--view", "mylab.smoke", *words]) == 0
    told = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["facts"] for line in told] == [{"smoke_share": 1.0}] * 2
    assert told[0]["boxes"] == [[0, 0, 640, 480, "smoke"]]
    for name in ("mylab", "mylab.smoke"):
        sys.modules.pop(name, None)


def test_a_method_that_cannot_be_imported_is_a_usage_error() -> None:
    pytest.importorskip("torch")
    from edge_mpq import observers

    with pytest.raises(UsageError, match="cannot import observers 'mylab.nothing'.*is it on PYTHONPATH"):
        observers.get("mylab.nothing")


def test_every_family_of_the_page_has_its_folder_and_its_laws() -> None:
    table = re.findall(r"^\| [a-z ]+ \| `([a-z_/]+)` \|.*\| `(tests/[a-z_/]+\.py)` \|$", PAGE.read_text(), re.MULTILINE)
    assert len(table) == 11
    assert [path for row in table for path in row if not (ROOT / path).exists()] == []
