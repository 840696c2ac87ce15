"""The plans that bundles hold, each once, under names that tell them apart; and their engines at any input size."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx

from apps import board_sweep, measure
from apps.stream.engine_from_bundle import open_engine
from apps.terminal import say
from edge_mpq.engines import inputs
from edge_mpq.engines.base import Engine
from edge_mpq.errors import BundleError, ExportError
from edge_mpq.records import bundle as bundles
from edge_mpq.records import document
from edge_mpq.records import target as targets
from edge_mpq.records.bundle import Bundle
from edge_mpq.records.tradeoff import PlanFacts
from edge_mpq.report import comparison
from export import onnx_at_size

Size = tuple[int, int]  # (width, height) of the input, pixels


class Contender(NamedTuple):
    """One plan of one bundle.  base: name of the fp32 that its answers are held against."""

    name: str
    role: str
    folder: str
    bundle: Bundle
    base: str

    @property
    def onnx_path(self) -> str:
        return os.path.join(self.folder, self.bundle.files[self.role])

    @property
    def sha256(self) -> str:
        return self.bundle.sha256[self.bundle.files[self.role]]

    @property
    def engine_path(self) -> str:
        """Where its engine lies once it was opened; a recording lies where its role does."""
        built = os.path.join(self.folder, "engines", self.role + ".engine")
        return built if os.path.isfile(built) else self.onnx_path

    @property
    def size(self) -> Size:
        """Of the input that it was exported for."""
        recipe = inputs.from_json(self.bundle.recipe)
        return recipe.width, recipe.height


def contenders(folders: list[str]) -> list[Contender]:
    """Every plan of the bundles at ``folders``; one that several hold stands once.

    Raises BundleError where a bundle has no fp32, or another task or other classes than the first.
    """
    opened = [bundles.open_folder(folder) for folder in folders]
    faults = []
    for folder, bundle in zip(folders, opened, strict=True):
        if "fp32" not in bundle.files:
            faults.append(f"{folder} has no fp32 to be held against")
        if bundle.task != opened[0].task:
            faults.append(f"{folder} is to {bundle.task}, {folders[0]} to {opened[0].task}")
        elif bundle.classes != opened[0].classes:
            faults.append(f"{folder} has other classes than {folders[0]}")
    if faults:
        raise BundleError("; ".join(faults), "give bundles of one task")
    labels = comparison.labels([os.path.join(os.path.abspath(folder), "report.json") for folder in folders])
    found: dict[tuple[str, str, str], tuple[str, str, Bundle, str]] = {}
    for folder, bundle, label in zip(folders, opened, labels, strict=True):
        for role in measure.VARIANTS:
            if role in bundle.files:
                found.setdefault(_same(bundle, role), (role, folder, bundle, label))
    roles = [role for role, *_ in found.values()]
    names = {
        key: measure.VARIANTS[role] + ("" if roles.count(role) == 1 else f" {label}")
        for key, (role, _, _, label) in found.items()
    }
    return [
        Contender(names[key], role, folder, bundle, names[_same(bundle, "fp32")])
        for key, (role, folder, bundle, _) in found.items()
    ]


def _same(bundle: Bundle, role: str) -> tuple[str, str, str]:
    """What two plans share that are one: the ONNX, how pictures become its input, and what runs it."""
    return bundle.sha256[bundle.files[role]], str(sorted(bundle.recipe.items())), bundle.target


def at_size(one: Contender, size: Size, scratch: str) -> Contender:
    """``one`` for inputs of ``size``: itself where it is of that size, else its ONNX changed and kept in ``scratch``.

    Raises ExportError where its graph is tied to another size.
    """
    if size == one.size:
        return one
    width, height = size
    files = {role: one.bundle.files[role] for role in (one.role, "plan") if role in one.bundle.files}
    folder = tempfile.mkdtemp(dir=scratch)
    for path in files.values():
        os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        shutil.copyfile(os.path.join(one.folder, path), os.path.join(folder, path))
    try:
        model = onnx_at_size.resized(onnx.load(one.onnx_path), height, width)
    except ExportError as error:
        raise ExportError(f"{one.name} of {one.folder}: {error.what}", error.mend) from error
    document.write_bytes(os.path.join(folder, files[one.role]), model.SerializeToString())
    recipe = {**one.bundle.recipe, "width": width, "height": height}
    return one._replace(folder=folder, bundle=bundles.seal(folder, one.bundle._replace(recipe=recipe, files=files)))


def opened(one: Contender, backend: str | None, threads: int, batches: Sequence[int]) -> Engine:
    """The engine of ``one``, built where there is none that takes all of ``batches`` and one picture."""
    return open_engine(one.folder, one.bundle, one.role, backend, threads, say, [1, *batches])


def facts_of(one: Contender, engine: Engine, example: np.ndarray) -> PlanFacts:
    """What the record tells of a plan; example: one input [1, C, H, W], on which its layers are timed."""
    return board_sweep.facts_of(one.folder, one.bundle, one.role, one.name, engine, example)


def backend_of(one: Contender) -> str:
    """The backend that the target of a contender runs."""
    return targets.get(one.bundle.target).backend
