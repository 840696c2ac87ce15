"""Models from anywhere: a named factory makes the architecture, a file fills in the weights.

torch is imported where a model or a weight file is read, so naming a factory of
something else (a data set) does not wait for it.
"""

import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edge_mpq import door
from edge_mpq.errors import EdgeMpqError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMS = "write package.module:factory or path/to/file.py:factory"
ENVELOPES = ("state_dict", "model", "model_state_dict")
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
SHOWN = 4


def factory(spec: str, zoo: str | None = None) -> Callable[..., Any]:
    """The callable named by ``package.module:name`` or ``path/to/file.py:name``.

    A name without a colon is looked up in ``zoo``, a package whose ``NAMES`` maps short
    names to specs.  Raises ModelError when nothing callable is found there.
    """
    if ":" not in spec:
        spec = _zoo_spec(spec, zoo)
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise ModelError(f"{spec!r} names no {'factory' if place else 'module'}", FORMS)
    module = _file_module(place) if place.endswith(".py") else _named_module(place)
    if not hasattr(module, name):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, there, n=SHOWN) or sorted(there)
        raise ModelError(f"there is no {name!r} in {place}", f"it holds {_some(near)}" if near else "define it there")
    made = getattr(module, name)
    if not callable(made):
        raise ModelError(f"{spec} is a {type(made).__name__}, not callable", "name a function or a class")
    return made


def load_model(spec: str, weights: str | None = None, seed: int = 0, zoo: str | None = "apps.models") -> "nn.Module":
    """The model of ``spec`` (see :func:`factory`) in eval mode, with finite parameters and buffers.

    The factory is called without arguments under ``seed``, so weights that are not
    loaded repeat.  ``weights``: a .pt/.pth state dict (plain or in an envelope such as
    {"state_dict": ...}; read with weights_only) or .safetensors, which must fit exactly.
    """
    import torch

    make = factory(spec, zoo)
    needed = _required(make)
    if needed:
        raise ModelError(f"{spec} cannot be called without {_some(needed)}", "give defaults or wrap it in a function")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = make()
        except EdgeMpqError:
            raise
        except Exception as error:
            raise ModelError(f"{spec} fails ({_told(error)})", "call it in Python first") from error
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{spec} makes a {type(model).__name__}", "a torch.nn.Module is wanted")
    if weights is not None:
        fill(model, read_state(weights), weights)
    _check_finite(model, weights or spec)
    return model.eval()


def read_state(path: str) -> dict[str, "Tensor"]:
    """The tensors of a .pt, .pth or .safetensors file by name, on the CPU, envelope and wrappers taken off.

    Raises ModelError for a file that is missing, torn, text, or holds anything but tensors.
    """
    import torch

    if not os.path.isfile(path):
        there = "a folder" if os.path.isdir(path) else "missing"
        raise ModelError(f"weights {path}: {there}", "give a .pt, .pth or .safetensors file")
    _refuse_text(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".pt", ".pth", ".safetensors"):
        raise ModelError(f"weights {path}: unknown suffix {suffix!r}", "save them as .pt, .pth or .safetensors")
    try:
        if suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of TorchScript before it refuses it
                state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ModelError(f"{path} needs {error.name}", f"pip install {error.name}") from error
    except Exception as error:  # a torn pickle can raise nearly anything
        foreign = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if foreign:
            raise ModelError(f"{path} holds a {foreign[1]} beside tensors", "save model.state_dict() alone") from error
        reason = _first_line(error).split(". ")[0]
        raise ModelError(f"{path} is torn or no weight file ({reason})", "copy or save it again") from error
    return _unwrapped(state, path)


def _unwrapped(body: Any, path: str) -> dict[str, "Tensor"]:
    """The state dict in a decoded file, out of its envelope; ModelError when there is none."""
    import torch

    if not isinstance(body, dict) or not body:
        raise ModelError(f"{path} is no state dict but a {type(body).__name__}", "save model.state_dict() alone")
    state = next((body[key] for key in ENVELOPES if isinstance(body.get(key), dict)), body)
    strange = [str(key) for key, value in state.items() if not torch.is_tensor(value)]
    if strange:
        raise ModelError(f"{path} is no state dict: {_some(strange)} no tensors", "save model.state_dict() alone")
    return state


def _zoo_spec(name: str, zoo: str | None) -> str:
    """The spec behind a short name of ``zoo``."""
    if zoo is None:
        raise ModelError(f"{name!r} has no colon", FORMS)
    try:
        known: dict[str, str] = importlib.import_module(zoo).NAMES
    except ImportError as error:
        raise ModelError(f"{name!r} has no colon and there is no zoo {zoo}", FORMS) from error
    if name not in known:
        raise ModelError(f"there is no model {name!r} in the zoo", f"it has {', '.join(known)}; else {FORMS}")
    return known[name]


def _named_module(place: str) -> ModuleType:
    """Import a dotted module, from the working folder too, which a console script leaves out of sys.path."""
    door.search(os.getcwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(error.name + ".")):
            raise ModelError(f"there is no module {place!r}", "is it spelled so, and on PYTHONPATH?") from error
        raise ModelError(f"{place} needs {error.name!r}, which is not installed", "install it") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"cannot import {place} ({_told(error)})", "it must import by itself") from error


def _file_module(path: str) -> ModuleType:
    """Execute a Python file as a module; its siblings can be imported from it."""
    if not os.path.isfile(path):
        raise ModelError(f"there is no file {path}", FORMS)
    door.search(os.path.dirname(os.path.abspath(path)))
    name = "_edge_mpq_file_" + os.path.basename(path)[:-3]
    loader = SourceFileLoader(name, path)
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelError(f"cannot import {path} ({_told(error)})", "it must run by itself") from error
    return module


def _required(make: Callable[..., Any]) -> list[str]:
    """The parameters ``make`` cannot be called without."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def fill(model: "nn.Module", state: dict[str, "Tensor"], path: str) -> None:
    """Load ``state`` into ``model``; ModelError names what is missing, unexpected or of another shape."""
    own = model.state_dict()
    for wrapper in WRAPPERS * 2:  # either may be the outer one
        if all(key.startswith(wrapper) for key in state) and not all(key.startswith(wrapper) for key in own):
            state = {key[len(wrapper) :]: value for key, value in state.items()}
    unlike = [key for key in own if key in state and _kind(state[key]) != _kind(own[key])]
    found = {
        # Files written before BatchNorm counted its batches lack the counter, which inference does not read.
        "missing": [key for key in own if key not in state and not key.endswith("num_batches_tracked")],
        "unexpected": [key for key in state if key not in own],
        "mismatched": [f"{key} {_kind(state[key])} for {_kind(own[key])}" for key in unlike],
    }
    faults = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in found.items() if keys)
    if faults:
        raise ModelError(f"{path} does not fit the model ({faults})", "give weights of this architecture")
    model.load_state_dict(state, strict=False)


def _kind(tensor: "Tensor") -> str:
    return f"{list(tensor.shape)}" if tensor.is_floating_point() else f"{list(tensor.shape)} {tensor.dtype}"


def _check_finite(model: "nn.Module", where: str) -> None:
    """ModelError naming every parameter or buffer that has no values yet or holds NaN or infinity."""
    import torch

    lazy, broken = [], []
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
            lazy.append(name)
        elif not torch.isfinite(tensor).all():
            broken.append(f"{name} ({'NaN' if torch.isnan(tensor).any() else 'infinite'})")
    if lazy:
        raise ModelError(f"{where}: {_some(lazy)} have no values yet", "run the model once in its factory")
    if broken:
        raise ModelError(f"{where}: not finite: {_some(broken)}", "train it again, or take an earlier checkpoint")


def _refuse_text(path: str) -> None:
    """ModelError when a weight file is empty or reads as text: a web page, a git-lfs pointer, the wrong path."""
    with open(path, "rb") as stream:
        head = stream.read(256)
    if not head:
        raise ModelError(f"{path} is empty", "copy or save it again")
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head):
        start = head[:40].decode("ascii")
        raise ModelError(f"{path} is a text file ({start!r}), not weights", "check the path, or fetch it again")


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _told(error: BaseException) -> str:
    """Kind, text and innermost place of a user's own error, on one line."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg}, line {error.lineno} of {error.filename}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f", line {frames[-1].lineno} of {frames[-1].filename}" if frames else ""
    return f"{type(error).__name__}: {_first_line(error)}{place}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
