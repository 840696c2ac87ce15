"""One way to build on every TensorRT from 8.0 to 11: each step asks the library what it has.

The network is parsed first, because what it holds (Q/DQ, a free batch axis) decides the
configuration.
"""

from typing import NamedTuple, Optional, Tuple

from edge_mpq.engines import _tensorrt_api as api
from edge_mpq.engines import _tensorrt_precision as precision
from edge_mpq.engines import _tensorrt_timing as timing
from edge_mpq.errors import EngineError
from edge_mpq.records import target as targets


class Options(NamedTuple):
    """How to build, beyond what the plan says.

    workspace_mib: memory a kernel may use while it runs; a sixteenth of the board's by
    default.  batch: least, best and greatest extent of a free batch axis.  dla_core: build
    for this DLA core, with the GPU for what it cannot do.  level: TensorRT's builder
    optimization level (8.6 on).  prefer: where no kernel does a layer as planned, take
    another instead of failing.  tf32: let fp32 layers round their factors to 10 bits, which
    fp32 in a plan does not mean.  timing: folder of timing caches, the user's by default.
    """

    workspace_mib: Optional[int] = None
    batch: Tuple[int, int, int] = (1, 1, 1)
    dla_core: Optional[int] = None
    level: Optional[int] = None
    prefer: bool = False
    tf32: bool = False
    timing: Optional[str] = None


class Network(NamedTuple):
    """A parsed network: TensorRT's object, the parser that must outlive it, and what it holds."""

    trt_network: object
    parser: object
    layers: list


def check(options):
    """Raise EngineError for options that no TensorRT takes; all faults at once."""
    least, best, most = options.batch
    faults = []
    if not 1 <= least <= best <= most:
        faults.append("a batch of {}, {} and {} pictures is not least, best and most".format(*options.batch))
    if options.workspace_mib is not None and options.workspace_mib < 1:
        faults.append("a workspace of {} MiB is none".format(options.workspace_mib))
    if options.level is not None and not 0 <= options.level <= 5:
        faults.append("there is no builder level {}, only 0 to 5".format(options.level))
    if options.dla_core is not None and options.dla_core < 0:
        faults.append("there is no DLA core {}".format(options.dla_core))
    if faults:
        raise EngineError("; ".join(faults), "mend the options of the build")


def is_typed(trt, target):
    """Whether the network's own types bind: asked for by the target, and always so from TensorRT 11."""
    return target.dialect == "typed" or not hasattr(trt.BuilderFlag, "FP16")


def refuse(trt, target, plan, calibration):
    """Raise EngineError where this target or this TensorRT cannot build what is asked; nothing is built yet."""
    here = "TensorRT {}".format(trt.__version__)
    if target.backend != "tensorrt":
        raise EngineError("{} is no TensorRT target".format(target.name), "export for a target of TensorRT")
    if target.dialect == "typed" and not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        what = "{} wants a strongly typed network, which {} does not know".format(target.name, here)
        raise EngineError(what, "export for the board this runs on, or build with TensorRT 10.13 or later")
    newest = targets.newest_opset(api.version(trt))
    if target.opset > newest:
        raise EngineError(
            "the ONNX is of opset {}, for {}; {} reads up to {} and misreads newer nodes".format(
                target.opset, target.title, here, newest
            ),
            "quantize with a --target of the TensorRT that is here",
        )
    asked = sorted({choice.activation for choice in plan.choices.values()}) if plan else []
    if target.dialect != "typed" and is_typed(trt, target) and set(asked) - {"fp32"}:
        raise EngineError(
            "the ONNX was made for {}, and {} builds only what the ONNX spells out in types".format(target.name, here),
            "export again for tensorrt-11-x86 or jetson-thor",
        )
    if calibration is not None and (is_typed(trt, target) or not target.has_int8):
        reason = "its networks are strongly typed" if target.has_int8 else "it runs no int8"
        raise EngineError(
            "{} takes no calibrator: {}".format(target.name, reason), "export the model with Q/DQ, or without int8"
        )
    if not target.has_int8 and any(name.startswith("int") for name in asked):
        raise EngineError("the plan asks for int8, {} runs none".format(target.name), "plan again for this target")


def refuse_quantized(builder, target, layers):
    """Raise EngineError for a network with Q/DQ where no integer kernels are."""
    if not precision.quantizes(layers):
        return
    if not target.has_int8 or not getattr(builder, "platform_has_fast_int8", True):
        raise EngineError(
            "the ONNX holds Q/DQ nodes, and this GPU runs no int8 (target {})".format(target.name),
            "export again for the board; Nano and TX2 take a mix of fp16 and fp32",
        )


def parse(trt, builder, log, data, path, target):
    """The ONNX in ``data`` as a :class:`Network`; EngineError with all that the parser says."""
    kinds, flags = trt.NetworkDefinitionCreationFlag, 0
    wanted = ["EXPLICIT_BATCH"] + (["STRONGLY_TYPED"] if is_typed(trt, target) else [])
    for kind in (api.member(kinds, name) for name in wanted):
        flags |= 1 << int(kind) if kind is not None else 0
    network = api.create(lambda: builder.create_network(flags), "network")
    parser = api.create(lambda: trt.OnnxParser(network, log), "ONNX parser")
    if not parser.parse(data, path):
        faults = [_parser_fault(parser.get_error(index)) for index in range(parser.num_errors)]
        raise EngineError(
            "TensorRT {} cannot read {}: {}".format(trt.__version__, path, "; ".join(faults)[:2000] or api.told(log)),
            "export the model again for this target",
        )
    return Network(network, parser, read_layers(network))


def _parser_fault(error):
    where = error.node_name() if hasattr(error, "node_name") else ""
    return "node {}: {}".format(where or error.node(), error.desc())


def read_layers(network):
    """The network's layers as precision.Layer."""
    rows = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        inputs = [layer.get_input(slot) for slot in range(layer.num_inputs)]
        outputs = [layer.get_output(slot) for slot in range(layer.num_outputs)]
        rows.append(
            precision.Layer(
                name=layer.name,
                kind=api.name_of(layer.type),
                inputs=tuple(tensor.name for tensor in inputs if tensor is not None),
                outputs=tuple(
                    precision.Output(
                        tensor.name, api.name_of(tensor.dtype), tensor.is_network_output or tensor.is_shape_tensor
                    )
                    for tensor in outputs
                    if tensor is not None
                ),
            )
        )
    return rows


def configure(trt, builder, config, options, target, wanted, threads):
    """Set memory, flags, threads and device of ``config``; wanted: names of builder flags."""
    workspace = int((options.workspace_mib or target.memory_gib * 64) * (1 << 20))
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    else:
        config.max_workspace_size = workspace
    missing = [name for name in wanted if not hasattr(trt.BuilderFlag, name)]
    if missing:
        what = "TensorRT {} does not know {}".format(trt.__version__, ", ".join(missing).lower())
        raise EngineError(what, "plan again with formats that this board runs")
    for name in wanted:
        config.set_flag(getattr(trt.BuilderFlag, name))
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.level is not None:
        if not hasattr(config, "builder_optimization_level"):
            what = "TensorRT {} has no builder level; it came with 8.6".format(trt.__version__)
            raise EngineError(what, "leave --level out")
        config.builder_optimization_level = options.level
    if hasattr(builder, "max_threads"):
        builder.max_threads = threads
    details = api.member(trt.ProfilingVerbosity, "DETAILED")  # 8.0 has neither the word nor the inspector
    if details is not None:
        config.profiling_verbosity = details
    if options.dla_core is not None:
        _use_dla(trt, builder, config, options.dla_core, wanted)


def _use_dla(trt, builder, config, core, wanted):
    if core >= builder.num_DLA_cores:
        what = "there is no DLA core {}; this board has {}".format(core, builder.num_DLA_cores)
        raise EngineError(what, "build for the GPU, or for one of the cores there are")
    if not {"FP16", "INT8"} & set(wanted):
        raise EngineError("DLA runs fp16 and int8, and the plan has neither", "build this plan for the GPU")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def constrain(trt, config, network, hints, prefer):
    """Ask for the hinted precisions and make TensorRT keep to them; prefer: where it can."""
    for hint in hints:
        layer, dtype = network.get_layer(hint.layer), getattr(trt.DataType, api.FORMATS[hint.precision])
        layer.precision = dtype
        for index in hint.outputs:
            layer.set_output_type(index, dtype)
    if hints:
        name = "PREFER_PRECISION_CONSTRAINTS" if prefer else "OBEY_PRECISION_CONSTRAINTS"
        # 8.0 has one flag for both meanings.
        config.set_flag(getattr(trt.BuilderFlag, name if hasattr(trt.BuilderFlag, name) else "STRICT_TYPES"))


def shape_inputs(builder, config, network, batch, calibration=None):
    """Bound the free batch axis of every input; EngineError where another axis is free.

    A calibrator sees batches of its own size, or where it gives none, of ``batch``'s best.
    """
    shapes, calibrated = {}, calibration.batch if calibration is not None else None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise EngineError(
                "input {!r} is {}: axes other than the batch are free".format(tensor.name, list(shape)),
                "export the model with a fixed picture size",
            )
        if calibrated is not None and shape[:1] not in ((-1,), (calibrated,)):
            what = "input {!r} takes {} pictures, calibration gives {}".format(tensor.name, shape[0], calibrated)
            raise EngineError(what, "calibrate in batches of {}".format(shape[0]))
        if shape[:1] == (-1,):
            shapes[tensor.name] = shape[1:]
    if shapes:
        config.add_optimization_profile(_profile(builder, shapes, batch))
        if calibration is not None:
            config.set_calibration_profile(_profile(builder, shapes, (calibrated or batch[1],) * 3))


def _profile(builder, shapes, batch):
    profile = builder.create_optimization_profile()
    for name, rest in shapes.items():
        profile.set_shape(name, *[(count,) + rest for count in batch])
    return profile


def serialize(trt, log, held, builder, network, config, timing_path, calibration=None):
    """The built plan's bytes; EngineError with TensorRT's last errors where it built none.

    What a callback raised meanwhile is raised here first: it is why there is no engine.
    """
    cache = timing.attach(config, timing_path)
    plan = builder.build_serialized_network(network, config)
    if plan is not None:
        timing.keep(config, timing_path)
    held.release()
    if calibration is not None:
        calibration.finish(plan is not None)
    if plan is None:
        raise EngineError(
            "TensorRT {} built no engine: {}".format(trt.__version__, api.told(log)),
            "out of memory: add swap or lower the workspace; no kernel for a layer: plan it in another format",
        )
    del cache
    return bytes(plan)
