"""docs/lint.md lists the rules of the lint, all of them and as they are."""

import re
from pathlib import Path

from export import lint_onnx

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lint.md"


def _rows() -> list[str]:
    """The rows that the page should have."""
    return [
        f"| `{rule.name}` | {rule.severity} | {rule.on} | {rule.text} | "
        f"{'yes' if rule.name in lint_onnx.MENDED else '-'} | {rule.source} |"
        for rule in lint_onnx.RULES
    ]


def test_the_page_has_every_rule_as_it_is() -> None:
    shown = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| `[a-z0-9-]+` \|", line)]
    assert shown == _rows(), "write these rows into docs/lint.md:\n" + "\n".join(_rows())


def test_no_rule_breaks_the_table() -> None:
    for rule in lint_onnx.RULES:
        for cell in (rule.name, rule.on, rule.text, rule.source):
            assert cell and "|" not in cell and "\n" not in cell
        assert rule.text.endswith(".")
