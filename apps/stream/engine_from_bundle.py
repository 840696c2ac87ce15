"""The engine of a bundle on this machine: opened where it lies, built where it does not."""

import importlib.util
import os

from edge_mpq import engines
from edge_mpq.engines import base
from edge_mpq.errors import BundleError, EngineError, RecordError, UsageError
from edge_mpq.records import engine as engine_record
from edge_mpq.records import plan as plan_record
from edge_mpq.records import target as target_record
from export import engine_from_onnx
from export.engine_from_onnx import CALIBRATED, source_of

# Each engine a bundle may hold, and what it is called where they are compared.
ROLES = (("fp32", "fp32"), ("int8", "int8"), (CALIBRATED, CALIBRATED), ("model", "mixed"))


def roles_of(folder, bundle):
    """[(role, name)] of the engines there are or can be built, that of calibration on the board where it was made."""
    made = os.path.isfile(engine_from_onnx.engine_path(folder, CALIBRATED))
    return [(role, name) for role, name in ROLES if role in bundle.files or (role == CALIBRATED and made)]


def open_engine(folder, bundle, role="model", backend=None, threads=1, say=lambda line: None, batches=None):
    """The opened Engine of ``role`` (one of ROLES) in the bundle at ``folder``.

    backend: another one than the target's.  ``replay`` opens the role's own file; any other
    keeps its engine in ``engines/`` of the folder, and builds it there where it is missing,
    torn, of other ONNX or of another device.  say: told what is built and why.  batches: how many
    pictures it is to take at once, all of them; whatever it takes without.  Raises BundleError where
    the bundle has no such role, EngineError where the backend is not on this machine or cannot build.
    """
    if source_of(role) not in bundle.files:
        raise BundleError(
            "the bundle {} has no {!r}".format(folder, role), "it has {}".format(", ".join(sorted(bundle.files)))
        )
    target = target_record.get(bundle.target)
    name = backend or target.backend
    module = _backend(name, target)
    source = os.path.join(str(folder), bundle.files[source_of(role)])
    if name == "replay":
        return module.open(source, threads)
    path = engine_from_onnx.engine_path(folder, role)
    why = _stale(path, name, bundle.sha256[bundle.files[source_of(role)]], batches if name == "tensorrt" else None)
    if not why:
        try:
            return module.open(path, threads)
        except EngineError as error:
            why = error.what
    if role == CALIBRATED:
        raise EngineError("no calibrated engine opens here: " + why, "build it: build --calibrate METHOD")
    say("building the {} engine for {} ({})".format(role, name, why))
    # The plan says formats of the quantized model; the float one keeps to its ONNX.
    planned = role == "model" and "plan" in bundle.files
    plan = plan_record.load(os.path.join(str(folder), bundle.files["plan"])) if planned else None
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    # TensorRT's builds take minutes, the others' none; and of all batches only those of its profile.
    more = {}
    if name == "tensorrt":
        more["tell"] = engine_from_onnx.watched(say)
        if batches:
            more["options"] = module.Options(batch=(min(batches), max(batches), max(batches)))
    module.build(source, path, target, plan, threads, **more)
    return module.open(path, threads)


def _backend(name, target):
    """The module of backend ``name``; EngineError where what it stands on is not here."""
    if name == "simulation":
        raise EngineError("nothing is deployed for target simulation", "run its ONNX: --backend onnxruntime")
    known, asked = engines.names(), name != target.backend
    if asked and name not in known and "." not in name:
        raise UsageError("there is no backend {!r}".format(name), "choose one of " + ", ".join(known))
    whose = "--backend" if asked else "target {}".format(target.name)
    other = "" if name == "onnxruntime" else ", or run on another engine: --backend onnxruntime"
    mend = "install {}{}".format(name, other)
    # A backend is called as the library it stands on, and a provider of it; replay stands on none.
    library = name.partition("_")[0]
    if "." not in name and (name not in known or (name != "replay" and importlib.util.find_spec(library) is None)):
        raise EngineError("{} wants backend {}, which is not on this machine".format(whose, name), mend)
    try:
        return engines.get(name)
    except ImportError as error:
        raise EngineError("backend {} does not load ({})".format(name, error), mend) from error


def _stale(path, backend, onnx_sha256, batches):
    """Why the engine at ``path`` is not the wanted one, or ''.  batches: that its profile must span, if any."""
    if not os.path.isfile(path):
        return "there is none yet"
    try:
        card = engine_record.load(base.card_path(path))
    except RecordError as error:
        return error.what
    if card.backend != backend:
        return "the one there is of " + card.backend
    if card.onnx_sha256 != onnx_sha256:
        return "the one there is of other ONNX"
    spanned = [int(count) for count in card.settings.get("batch", "1").split() if count.isdigit()]
    if batches and spanned and not spanned[0] <= min(batches) <= max(batches) <= spanned[-1]:
        return "the one there takes {} to {} pictures at once".format(spanned[0], spanned[-1])
    return ""
