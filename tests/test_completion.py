"""What the shell is told may come next: asked as bash asks, through the installed launcher's own process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_mpq import __main__ as launcher
from edge_mpq import completion, observers, recipes, rounding, sensitivity
from edge_mpq.records import target

ROOT = Path(__file__).resolve().parents[1]
# argcomplete writes to descriptor 8, and its own troubles to 9.
ASKED = f'exec "{sys.executable}" -m edge_mpq 8>&1 9>&2 1>/dev/null'


def offered(line: str) -> list[str]:
    answer = subprocess.run(
        ["bash", "-c", ASKED],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_SHELL": "bash",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_TYPE": "9",
        },
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert not answer.stderr
    return [word.strip() for word in answer.stdout.split("\n") if word.strip()]


def test_a_verb_is_completed():
    assert set(offered("edge-mpq ")) == {*launcher.VERBS, "--help"}
    assert offered("edge-mpq qua") == ["quantize"]


@pytest.mark.parametrize("verb", launcher.VERBS)
def test_every_verb_offers_its_options(verb):
    line = f"edge-mpq {verb} "
    assert "--help" in offered(line + "--h")
    assert len(offered(line + "--")) > 1 or verb == "train"


@pytest.mark.parametrize(
    "line, word",
    [
        ("edge-mpq quantize --target jetson-na", "jetson-nano"),
        ("edge-mpq quantize --sensitivity hessian_", "hessian_pairs"),
        ("edge-mpq quantize --formats w8", "w8a8"),
        ("edge-mpq quantize --model cifar_resnet2", "cifar_resnet20"),
        ("edge-mpq compare --recipes mptq", "mptq_vit"),
        ("edge-mpq bench --backend re", "replay"),
        ("edge-mpq train classify --preci", "--precision"),
        ("edge-mpq train wildfire-t", "wildfire-table"),
        ("edge-mpq build READ", "README.md"),
    ],
)
def test_what_stands_there_is_completed(line, word):
    assert offered(line) == [word]


def test_nonsense_offers_nothing():
    assert offered("edge-mpq quantise --for") == []
    assert offered("edge-mpq quantize --no-such") == []
    assert offered("edge-mpq bench --backend inp") == []  # a file of the engines that is no backend


def test_the_methods_offered_are_those_there_are():
    for family, module in (("sensitivity", sensitivity), ("rounding", rounding), ("observers", observers)):
        assert completion._methods(family) == module.names()
    assert completion._methods("recipes") == recipes.names()
    assert "jetson-nano" in target.names()
