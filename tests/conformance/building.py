"""How the conformance tests build and open the scene's network."""

from pathlib import Path

import pytest

from edge_mpq.engines import base, tensorrt
from edge_mpq.records import target as targets
from edge_mpq.records.engine import EngineCard
from edge_mpq.records.target import Target
from tests.conformance import strict_api
from tests.conformance.scene import Scene

VERSIONS = strict_api.versions()
every_version = pytest.mark.parametrize("version", VERSIONS)
with_calibrators = pytest.mark.parametrize("version", [name for name in VERSIONS if not name.startswith("11")])
without_calibrators = pytest.mark.parametrize("version", [name for name in VERSIONS if name.startswith("11")])


def parts(version: str) -> tuple[int, ...]:
    """(8, 2) of 8.2.1."""
    return tuple(int(part) for part in version.split(".")[:2])


def target_for(version: str) -> Target:
    """A target with int8 whose ONNX this version reads."""
    if parts(version) >= (11,):
        return targets.get("tensorrt-11-x86")
    if parts(version) >= (10,):
        return targets.get("jetson-orin-nano")
    return targets.get("jetson-orin-nano-jetpack5" if parts(version) >= (8, 4) else "jetson-xavier-nx-jetpack4")


def build(scene: Scene, folder: Path, plan=None, target: Target | None = None, **more) -> EngineCard:
    """Build the scene's network into ``folder``; the card."""
    (folder / "model.onnx").write_bytes(b"the model")
    options = more.pop("options", tensorrt.Options())._replace(timing=str(folder / "timing"))
    wanted = target or target_for(scene.version)
    return tensorrt.build(
        folder / "model.onnx", folder / "model.engine", wanted, plan, options=options,
        trt=scene.made, device=scene.device, **more,
    )  # fmt: skip


def opened(scene: Scene, folder: Path, **more) -> base.Engine:
    """The engine that was built into ``folder``."""
    return tensorrt.open(folder / "model.engine", trt=scene.made, device=scene.device, **more)
