"""Who may import whom, read from the source with ast: nothing is imported to find out.

A floor may import floors below it and its own; ``apart`` floors of one height never
import each other.  A file stands on the floor that names the longest part of its path.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Floor(NamedTuple):
    """name, height (0 is the ground), and the files or folders that stand on it."""

    name: str
    height: int
    paths: tuple[str, ...]


FLOORS = (
    Floor(
        "ground",
        0,
        ("edge_mpq/errors.py", "edge_mpq/door.py", "edge_mpq/progress.py", "edge_mpq/termination.py")
        + ("edge_mpq/records",),
    ),
    Floor("model", 1, ("edge_mpq",)),  # whatever no other row names: layers, cost, observers, quantizers, ...
    Floor("engines", 1, ("edge_mpq/engines",)),
    Floor(
        "choice",
        2,
        ("edge_mpq/sensitivity", "edge_mpq/allocators", "edge_mpq/tuners", "edge_mpq/training", "edge_mpq/report"),
    ),
    Floor(
        "planner",
        3,
        ("edge_mpq/planning.py", "edge_mpq/budget.py", "edge_mpq/drop.py", "edge_mpq/quantizing.py")
        + ("edge_mpq/evaluator.py", "edge_mpq/explaining.py", "edge_mpq/presets.py"),
    ),
    Floor("ways out", 4, ("export", "calibrators", "apps/stream", "apps/terminal.py")),
    Floor(
        "top",
        5,
        ("apps", "edge_mpq/recipes", "edge_mpq/__init__.py", "edge_mpq/__main__.py", "edge_mpq/completion.py"),
    ),
)
APART = {"model", "engines"}
STAGES = ("export", "calibrators", "apps")
PACKAGES = ("edge_mpq", *STAGES)

# Files that run on Python 3.6 with what a board brings.
BOARD = (
    ("edge_mpq/__init__.py", "edge_mpq/__main__.py", "edge_mpq/completion.py", "edge_mpq/errors.py")
    + ("edge_mpq/door.py", "edge_mpq/termination.py", "edge_mpq/records")
    + ("edge_mpq/engines", "calibrators", "export/__init__.py", "export/engine_from_onnx.py")
    + ("export/trtexec_from_plan.py", "apps/__init__.py", "apps/stream", "apps/bundle_fit.py")
    + ("apps/doctor.py", "apps/doctor_facts.py", "apps/doctor_findings.py")
    + ("apps/board.py", "apps/board_bench.py", "apps/board_report.py", "apps/board_timing.py")
    + ("apps/board_tradeoff.py", "apps/board_sweep.py", "apps/board_power_mode.py")
)
ON_A_BOARD = {"numpy", "cv2", "tensorrt", "pycuda"}
OF_ONE_FILE = {
    "edge_mpq/completion.py": {"argcomplete"},
    "edge_mpq/engines/onnxruntime.py": {"onnxruntime", "onnx"},
    "edge_mpq/engines/_onnxruntime_gpu.py": {"onnx"},
    "edge_mpq/engines/openvino.py": {"openvino"},
    "apps/stream/watch/mqtt.py": {"paho"},
}
AFTER_3_6 = {"dataclasses", "contextvars", "graphlib", "zoneinfo", "tomllib"}
TYPING_AFTER_3_6 = {"Protocol", "Literal", "Final", "TypedDict", "runtime_checkable", "Self", "ParamSpec", "Annotated"}
BUILTIN_GENERICS = {"list", "dict", "tuple", "set", "frozenset", "type"}


class Import(NamedTuple):
    """One import: the line, the module's dotted name, and its file in the tree (None: not ours)."""

    line: int
    module: str
    file: str | None


def sources(root: Path = ROOT) -> list[str]:
    """Every Python file of the four packages, relative to ``root``."""
    files = (path for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    return [path.relative_to(root).as_posix() for path in files]


def imports(file: str, root: Path = ROOT) -> Iterator[Import]:
    """Every import of ``file``, at any depth of the code."""
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"), file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, _file_of(alias.name, root))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = Path(file).parts[: -node.level]
                base = ".".join((*package, base)) if base else ".".join(package)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                module = whole if _file_of(whole, root) else base
                yield Import(node.lineno, module, _file_of(module, root))


def _file_of(module: str, root: Path) -> str | None:
    stem = root.joinpath(*module.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file() and module.split(".")[0] in PACKAGES:
            return path.relative_to(root).as_posix()
    return None


def floor_of(file: str) -> Floor:
    """The floor of the longest path that holds ``file``."""
    found = [(len(path), floor) for floor in FLOORS for path in floor.paths if _holds(path, file)]
    return max(found, key=lambda pair: pair[0])[1]


def on_board(file: str) -> bool:
    """Whether ``file`` must run on Python 3.6."""
    return any(_holds(path, file) for path in BOARD)


def _holds(path: str, file: str) -> bool:
    return file == path or file.startswith(path + "/")


def faults(root: Path = ROOT) -> list[str]:
    """Every import that goes up, across or out, with where to go instead."""
    found = []
    for file in sources(root):
        floor = floor_of(file)
        for use in imports(file, root):
            top = use.module.split(".")[0]
            where = f"{file}:{use.line} imports {use.module}"
            if file.startswith("edge_mpq/") and top in STAGES:
                found.append(f"{where}: the library never imports {top}/; move what both need into edge_mpq/records")
                continue
            if floor.name == "ground" and top not in sys.stdlib_module_names and top != "edge_mpq":
                found.append(f"{where}: the ground floor has the standard library only; move this file up")
            below = floor_of(use.file) if use.file else None
            if below is None:
                continue
            if below.height > floor.height:
                mend = f"move what you need down from {below.name} to {floor.name}, or this file up"
                found.append(f"{where}: {floor.name} never imports {below.name} above it; {mend}")
            elif {floor.name, below.name} == APART:
                found.append(f"{where}: {floor.name} and {below.name} stand apart; meet in a record or one floor up")
    return found


def board_faults(root: Path = ROOT) -> list[str]:
    """Everything in a board file that Python 3.6 or a board does not have."""
    files = [file for file in sources(root) if on_board(file)]
    return [fault for file in files for fault in (*_foreign(file, root), *_modern(file, root))]


def _foreign(file: str, root: Path) -> Iterator[str]:
    known = (sys.stdlib_module_names - AFTER_3_6) | ON_A_BOARD | OF_ONE_FILE.get(file, set())
    for use in imports(file, root):
        where = f"{file}:{use.line} imports {use.module}"
        if use.file is not None:
            if not on_board(use.file):
                yield f"{where}: a board file imports board files only; hand the result over in a record"
        elif use.module.split(".")[0] not in known:
            yield f"{where}: a board has the standard library of Python 3.6, numpy, cv2 and TensorRT"


def _modern(file: str, root: Path) -> Iterator[str]:
    try:
        tree = ast.parse((root / file).read_text(encoding="utf-8"), file, feature_version=(3, 6))
    except SyntaxError as error:
        yield f"{file}:{error.lineno} is not Python 3.6: {error.msg}"
        return
    generic = set(BUILTIN_GENERICS)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if node.module == "collections.abc":
                generic |= names
            if node.module == "__future__" and "annotations" in names:
                yield f"{file}:{node.lineno} imports annotations from __future__: Python 3.6 has none"
            if node.module == "typing" and names & TYPING_AFTER_3_6:
                late = ", ".join(sorted(names & TYPING_AFTER_3_6))
                yield f"{file}:{node.lineno} imports {late} from typing: Python 3.6 has none"
        if isinstance(node, ast.NamedExpr):
            yield f"{file}:{node.lineno} uses :=, which is not Python 3.6"
    for node in _annotations(tree):
        for part in ast.walk(node):
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitOr):
                yield f"{file}:{part.lineno} annotates with X | Y: write Optional or Union"
            if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name) and part.value.id in generic:
                yield f"{file}:{part.lineno} annotates with {part.value.id}[...]: write typing's"


def _annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        notes: list[ast.expr | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            notes = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            notes = [node.returns]
        yield from (note for note in notes if note is not None)
