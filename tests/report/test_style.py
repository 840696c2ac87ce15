"""The style sheet: contrast of text in both themes, and format colours that a colour-blind reader tells apart."""

import re
from importlib import resources

import numpy as np
import pytest

from edge_mpq.records.formats import FORMATS

CSS = resources.files("edge_mpq.report").joinpath("style.css").read_text("utf-8")
# Full dichromacy on linear RGB: Vienot, Brettel and Mollon, Color Research and Application 24 (1999) for protan and
# deutan; Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009), severity 1, for tritan.
SIGHTS = {
    "full": np.eye(3),
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
    ),
}


def _themes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0]))
    return {"light": light, "dark": light | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[1]))}


THEMES = _themes()


def linear(colour: str) -> np.ndarray:
    """sRGB hex to linear RGB."""
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, two: str) -> float:
    """WCAG 2 contrast ratio."""
    light, dark = sorted((float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = matrix @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_contrast(theme):
    colours = THEMES[theme]
    for ground in ("paper", "surface"):
        assert contrast(colours["ink"], colours[ground]) >= 7
        assert contrast(colours["quiet"], colours[ground]) >= 4.5
    assert contrast(colours["alarm"], colours["paper"]) >= 4.5
    assert contrast(colours["accent"], colours["paper"]) >= 3


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", [*FORMATS, "other", *(f"stage-{index}" for index in range(6))])
def test_labels_on_colours_have_contrast(theme, name):
    assert contrast(THEMES[theme][name], THEMES[theme][f"on-{name}"]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", SIGHTS)
def test_the_usual_formats_are_told_apart(theme, sight):
    names = ["fp32", "fp16", "int8", "int4", "int2", "fp8"]
    seen = {name: lab(SIGHTS[sight] @ linear(THEMES[theme][name])) for name in names}
    for index, one in enumerate(names):
        for two in names[:index]:
            assert np.linalg.norm(seen[one] - seen[two]) >= 12, f"{one} and {two} to {sight} in {theme}"


def test_every_format_has_a_colour_class():
    for name in [*FORMATS, "other"]:
        assert f".format-{name} {{ --swatch: var(--{name}); --on: var(--on-{name}); }}" in CSS
    assert CSS.count("{") == CSS.count("}") and "http" not in CSS
