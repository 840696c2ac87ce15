"""plan + target -> a shell script that builds the engine with the trtexec of that TensorRT.

trtexec ends at a flag it does not know, and its flags come and go: ``trtexec_flags.json``
says which version parses which (read from sampleOptions.cpp of each release), and nothing
else is written.  The script asks for what ``edge-mpq build`` asks for, layer by layer, decided by
the same rule (edge_mpq/engines/_tensorrt_precision.py); where trtexec of a version has no flag for
it, the script says so and ends with 1 instead of building something else.  What TensorRT's parser
splits off a node, such as the bias of a Gemm, has a name that no script can know and stays
unasked.  A board file.
"""

import json
import pkgutil
import shlex
from typing import List, Optional, Tuple

from edge_mpq.engines import _tensorrt_precision as precision
from edge_mpq.errors import ExportError, PlanError

# Flags without dashes, each with its value, None where it takes none.
Options = List[Tuple[str, Optional[str]]]
ON_JETSON = "/usr/src/tensorrt/bin/trtexec"
# Flags of the weakly typed formats; fp32 needs none.
FORMATS = ("fp16", "int8", "bf16", "fp8")
# Half a second to settle, ten to measure: trtexec's own advice for stable medians.
MEASURE = (("warmUp", "500"), ("duration", "10"), ("avgRuns", "100"))


def table():
    """(versions, {flag: a sign for each version, Y where its trtexec parses it})."""
    data = pkgutil.get_data("export", "trtexec_flags.json")
    assert data is not None
    body = json.loads(data.decode("utf-8"))
    return body["versions"], body["flags"]


def column(tensorrt):
    """The version of the table that stands for TensorRT ``tensorrt``, such as (8, 5, 2).

    The newest that is not newer, of the same major version; the oldest of that, where all
    are.  Raises ExportError for a major version that the table has not.
    """
    versions, _ = table()
    same = [text for text in versions if int(text.split(".")[0]) == tensorrt[0]]
    if not same:
        raise ExportError("no trtexec of TensorRT {} is known".format(tensorrt[0]), "known: " + ", ".join(versions))
    older = [text for text in same if int(text.split(".")[1]) <= tensorrt[1]]
    return older[-1] if older else same[0]


def known(version):
    """The flags, without dashes, that trtexec of a version of the table parses."""
    versions, flags = table()
    index = versions.index(version)
    return {flag.lstrip("-") for flag, signs in flags.items() if signs[index] == "Y"}


def script(onnx_name, plan, target, engine_name=None, shapes=None, batch=(1, 1, 1), workspace_mib=None,
           prefer=False, measure=False, layers=None):  # fmt: skip
    """The text of a POSIX shell script that builds ``engine_name`` from ``onnx_name``.

    shapes: input name -> extents of one picture, without the batch.  batch: least, best and
    greatest.  workspace_mib: a sixteenth of the board's memory by default.  prefer: where no
    kernel does a layer as planned, take another instead of failing.  measure: also run the engine, and write
    the time of each layer and of every run beside it.  layers: those that TensorRT parses from
    the ONNX (export/tensorrt_layers_from_onnx.py), some of which run in fp32 because their
    neighbours do; without them the script asks for the planned layers alone.

    Raises ExportError for a target without TensorRT and for names that trtexec cannot
    take, PlanError for a plan of another target.
    """
    if target.backend != "tensorrt":
        raise ExportError("{} has no trtexec".format(target.name), "choose a target of TensorRT")
    if plan.target != target.name:
        raise PlanError("the plan is for {}, not {}".format(plan.target, target.name), "plan again for this target")
    version = column(target.tensorrt)
    flags = known(version)
    engine = engine_name or onnx_name.rsplit(".", 1)[0] + ".engine"
    head = _head(target, engine, onnx_name)
    missing = _missing(plan, target, flags)
    if missing:
        return head + _refusal(missing, version)
    options = [("onnx", onnx_name), ("saveEngine", engine)]  # type: Options
    options += _shapes(shapes or {}, batch, flags)
    options += _precision(plan, target, prefer, flags, layers) + _resources(target, workspace_mib, flags)
    options += _records(engine, measure, flags)
    strange = [flag for flag, _ in options if flag not in flags]
    if strange:
        raise ExportError(
            "trtexec {} has no --{}".format(version, strange[0]), "leave the option out, or use edge-mpq build"
        )
    lines = [shlex.quote("--" + flag + ("" if value is None else "=" + value)) for flag, value in options]
    return head + 'exec "$TRTEXEC" \\\n  ' + " \\\n  ".join(lines) + "\n"


def _head(target, engine, onnx_name):
    return "\n".join([
        "#!/bin/sh",
        "# Builds {} from {} for {}.".format(engine, onnx_name, target.title).replace("\n", " "),
        "set -eu",
        "TRTEXEC=${TRTEXEC:-$(command -v trtexec || echo " + ON_JETSON + ")}",
        "",
    ])  # fmt: skip


def _asked(plan):
    """The activation formats of a plan, integers of any width as int8."""
    return {"int8" if choice.activation.startswith("int") else choice.activation for choice in plan.choices.values()}


def _missing(plan, target, flags):
    """What of the plan this trtexec has no flag for, or ''."""
    asked = _asked(plan)
    if target.dialect == "typed":
        return ""
    strange = sorted(asked - set(target.activation_formats))
    if strange:
        raise PlanError("{} runs no {}".format(target.name, ", ".join(strange)), "plan again for this target")
    # Q and DQ say by themselves what is int8, and what is neither may take the half precision beside it.
    plain = len(asked) == 1 or asked == {"fp16", "int8"}
    if plain or "layerPrecisions" in flags:
        return ""
    return "layers in {} side by side".format(" and ".join(sorted(asked)))


def _refusal(missing, version):
    said = "trtexec of TensorRT {} cannot ask for {}; build with: edge-mpq build DIR".format(version, missing)
    return "echo {} >&2\nexit 1\n".format(shlex.quote(said))


def _shapes(shapes, batch, flags):
    """The optimization profile: least, best and greatest shape of every input."""
    if not shapes:
        return []
    _check_names(shapes)
    options = []  # type: Options
    options += [("explicitBatch", None)] if "explicitBatch" in flags and "memPoolSize" not in flags else []
    for flag, count in zip(("minShapes", "optShapes", "maxShapes"), batch):
        rows = ["x".join(str(extent) for extent in (count,) + tuple(rest)) for rest in shapes.values()]
        options.append((flag, ",".join(name + ":" + row for name, row in zip(shapes, rows))))
    return options


def _check_names(names):
    bad = [name for name in names if set(name) & set(":,*")]
    if bad:
        raise ExportError("trtexec cannot take the name {!r}".format(bad[0]), "use edge-mpq build")


def _precision(plan, target, prefer, flags, layers):
    """What makes TensorRT follow the plan: nothing but a flag where types say it, else formats and layers."""
    if target.dialect == "typed":
        # TensorRT 11 knows no other kind of network and takes the flag for a word without meaning.
        return [("noTF32", None)] + ([("stronglyTyped", None)] if target.tensorrt < (11,) else [])
    wanted = _asked(plan)
    # Weights of a few bits stand behind Q/DQ too, whatever their activations are.
    if any("int" in choice.weight for choice in plan.choices.values()):
        wanted.add("int8")
    # fp16 beside int8, else what is not quantized runs in float and the engine is slower than a half one.
    if "int8" in wanted and "fp16" in target.activation_formats:
        wanted.add("fp16")
    options = [("noTF32", None)]  # type: Options
    options += [(name, None) for name in FORMATS if name in wanted]
    if wanted == {"fp32"} or "layerPrecisions" not in flags:
        return options
    layers = _planned_alone(plan) if layers is None else layers
    rows = [(layers[hint.layer], hint) for hint in precision.hints(layers, plan, False)]
    if rows:
        _check_names([layer.name for layer, _ in rows])
        options.append(("precisionConstraints", "prefer" if prefer else "obey"))
        said = ["{}:{}".format(layer.name, hint.precision) for layer, hint in rows]
        options.append(("layerPrecisions", ",".join(said)))
    # A network's output keeps the type that its reader knows.
    typed = [(layer, hint) for layer, hint in rows if len(hint.outputs) == len(layer.outputs)]
    if typed:
        said = ["{}:{}".format(layer.name, "+".join([hint.precision] * len(hint.outputs))) for layer, hint in typed]
        options.append(("layerOutputTypes", ",".join(said)))
    return options


def _planned_alone(plan):
    return [
        precision.Layer(name, "CONVOLUTION", (), (precision.Output(name, "FLOAT", False),)) for name in plan.choices
    ]


def _resources(target, workspace_mib, flags):
    workspace = str(int(workspace_mib or target.memory_gib * 64))
    return [("memPoolSize", "workspace:" + workspace) if "memPoolSize" in flags else ("workspace", workspace)]


def _records(engine, measure, flags):
    """Timing cache, what was built, and either no run at all or one that is written down."""
    stem = engine.rsplit(".", 1)[0]
    options = [("timingCacheFile", stem + ".timing")]  # type: Options
    if "exportLayerInfo" in flags:
        options += [("profilingVerbosity", "detailed"), ("exportLayerInfo", stem + ".layers.json")]
    if not measure:
        return options + [("skipInference" if "skipInference" in flags else "buildOnly", None)]
    options += [("dumpProfile", None), ("exportProfile", stem + ".profile.json"), ("exportTimes", stem + ".times.json")]
    # Host overheads are left out, as TensorRT 11 does by itself.
    options += [(flag, None) for flag in ("separateProfileRun", "useCudaGraph", "useSpinWait", "noDataTransfers")]
    return options + list(MEASURE)
