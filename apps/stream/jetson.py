"""Which Jetson this is, read from the files its software leaves; None on anything else.

L4T is NVIDIA's name of the system, JetPack of the whole delivery; the compute capability
follows from the chip.
"""

import os
import re
from typing import NamedTuple, Tuple

CAPABILITIES = {"tegra210": "5.3", "tegra186": "6.2", "tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
# L4T -> JetPack; the longest beginning that fits.
JETPACKS = {
    (32, 5): "4.5", (32, 6): "4.6", (32, 7): "4.6.1", (32, 7, 2): "4.6.2", (32, 7, 3): "4.6.3", (32, 7, 4): "4.6.4",
    (32, 7, 5): "4.6.5", (32, 7, 6): "4.6.6", (34,): "5.0", (35,): "5.1", (35, 1): "5.0.2", (36,): "6.0",
    (36, 4): "6.1", (36, 4, 3): "6.2", (36, 4, 4): "6.2.1", (36, 4, 7): "6.2.1", (36, 5): "6.2.2",
    (38,): "7.0", (38, 4): "7.1", (39,): "7.2",
}  # fmt: skip


class Jetson(NamedTuple):
    """model: as the board calls itself.  chip: ``tegra210``.  capability: ``5.3``, '' for a chip not known here.

    l4t: (32, 7, 1), () where it is not told.  jetpack: ``4.6.1``, '' where it does not follow.
    """

    model: str
    chip: str
    capability: str
    l4t: Tuple[int, ...]
    jetpack: str


def read(root="/"):
    """The Jetson whose files lie under ``root``, or None."""
    compatible = text_of(root, "proc/device-tree/compatible").split("\0")
    chips = [word.split(",")[1] for word in compatible if word.startswith("nvidia,tegra")]
    l4t = l4t_of(text_of(root, "etc/nv_tegra_release"))
    if not chips and not l4t:
        return None
    chip = chips[0] if chips else ""
    model = text_of(root, "proc/device-tree/model").strip("\0\n ")
    return Jetson(model or "a Jetson", chip, CAPABILITIES.get(chip, ""), l4t, jetpack_of(l4t))


def l4t_of(release):
    """(32, 7, 1) from ``# R32 (release), REVISION: 7.1, ...``, or from a package's ``32.7.1-2022...``; else ()."""
    found = re.match(r"#? ?R?(\d+)(?: \(release\), REVISION: |\.)([\d.]+)", release)
    return (int(found.group(1)),) + tuple(int(part) for part in found.group(2).split(".") if part) if found else ()


def jetpack_of(l4t):
    """The JetPack that brought ``l4t``, or ''."""
    fitting = [known for known in JETPACKS if l4t[: len(known)] == known]
    return JETPACKS[max(fitting, key=len)] if fitting else ""


def text_of(root, path):
    """The text of a small file under ``root``, '' where it cannot be read."""
    try:
        with open(os.path.join(str(root), path), "rb") as stream:
            return stream.read(1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""
