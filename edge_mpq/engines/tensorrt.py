"""TensorRT 8.0 to 11, on the board that will run the engine.

``build`` parses the ONNX, asks for the precisions of the plan in the way this TensorRT
takes them, builds, and reads back from the engine what each layer really got.  ``open``
runs the engine.  Both take the library and the device as arguments, so that a stand-in
can take their place.
"""

import io
import os
import time
from typing import List

from edge_mpq.engines import _tensorrt_api as api
from edge_mpq.engines import _tensorrt_build as steps
from edge_mpq.engines import _tensorrt_precision as precision
from edge_mpq.engines import _tensorrt_readback as readback
from edge_mpq.engines import _tensorrt_runtime as running
from edge_mpq.engines import _tensorrt_timing as timing
from edge_mpq.engines import base, cuda
from edge_mpq.errors import EngineError
from edge_mpq.records import bundle
from edge_mpq.records import engine as engine_record

BACKEND = "tensorrt"
# In the settings of a card: the DLA core that the engine was built for.
DLA_CORE = "dla_core"
Options = steps.Options


def build(
    onnx_path, engine_path, target, plan=None, threads=1,
    options=None, calibration=None, tell=None, trt=None, device=None,
):  # fmt: skip
    """Build the ONNX at ``onnx_path`` here; writes the engine and its card, and gives the EngineCard.

    plan: what each layer is asked for; None keeps the float types of the ONNX.  options:
    :class:`Options`.  calibration: one of calibrators/, for an int8 plan whose ONNX has no
    Q/DQ.  tell: called ``tell(phase, step, steps)`` as the build goes on.  trt: the library.
    device: of edge_mpq.engines.cuda.  Raises EngineError with the parser's and the builder's
    own messages, and whatever a calibrator raised.
    """
    started = time.time()
    options = options or Options()
    data = _read(onnx_path)
    trt, device = trt or api.library(), device or cuda.open_device()
    steps.refuse(trt, target, plan, calibration)
    steps.check(options)
    held = api.Held()
    with api.uninterrupted(held):
        timed = api.TimedLayers(tell) if tell is not None and not hasattr(trt, "IProgressMonitor") else None
        log = api.logger(trt, held, timed)
        trt.init_libnvinfer_plugins(log, "")
        builder = api.create(lambda: trt.Builder(log), "builder")
        network = steps.parse(trt, builder, log, data, str(onnx_path), target)
        steps.refuse_quantized(builder, target, network.layers)
        config = builder.create_builder_config()
        wanted: List[str] = []
        hints: List[precision.Hint] = []
        if not steps.is_typed(trt, target):
            wanted = precision.flags(plan, network.layers, target, calibration is not None)
            hints = precision.hints(network.layers, plan, calibration is not None) if plan and wanted else []
        steps.configure(trt, builder, config, options, target, wanted, threads)
        # A calibrated int8 layer may have no kernel, and part of a network none on the DLA.
        prefer = options.prefer or calibration is not None or options.dla_core is not None
        steps.constrain(trt, config, network.trt_network, hints, prefer)
        steps.shape_inputs(builder, config, network.trt_network, options.batch, calibration)
        if calibration is not None:
            calibration.attach(trt, network.trt_network, config, device)
        if timed is not None:
            timed.layers = len(network.layers)
        elif tell is not None:
            config.progress_monitor = api.monitor(trt, held, tell)
        timed_at = timing.path_of(options.timing or timing.folder(), trt.__version__, device.described)
        plan_bytes = steps.serialize(trt, log, held, builder, network.trt_network, config, timed_at, calibration)
        asked = base.asked_of(plan)
        names = list(asked) or precision.weighted(network.layers)
        del config, network, builder  # a small board has no room for both
        got = _got(trt, log, held, plan_bytes, engine_path, names, device, options.dla_core)
    card = engine_record.EngineCard(
        backend=BACKEND,
        target=target.name,
        device=device.described,
        versions={"tensorrt": trt.__version__, "cuda": device.version},
        onnx_sha256=bundle.digest(str(onnx_path)),
        engine_sha256="",
        engine_bytes=0,
        build_s=time.time() - started,
        asked=asked,
        got=got,
        settings=_settings(options),
    )
    return base.keep(engine_path, plan_bytes, card)


def _settings(options):
    """What a card tells of ``options``: where the engine runs, and how many pictures it takes."""
    told = {} if options.dla_core is None else {DLA_CORE: str(options.dla_core)}
    return told if options.batch == Options().batch else dict(told, batch=" ".join(map(str, options.batch)))


def _read(onnx_path):
    if not os.path.isfile(str(onnx_path)):
        raise EngineError("no model at {}".format(onnx_path), "export one with edge-mpq export")
    with io.open(str(onnx_path), "rb") as stream:
        return stream.read()


def _got(trt, log, held, data, path, names, device, dla_core):
    """layer -> short name of what the built engine runs it in; opening it shows that it runs."""
    runtime, engine = running.deserialize(trt, log, held, data, path, 1, dla_core)
    with running.TrtEngine(trt, log, held, runtime, engine, None, device) as opened:
        return readback.got(opened.rows(), names)


def open(engine_path, threads=1, trt=None, device=None):  # the name every backend gives it
    """The engine at ``engine_path``; EngineError when it was built elsewhere or by another TensorRT, or is torn."""
    trt, device = trt or api.library(), device or cuda.open_device()
    card = base.verified_card(engine_path, BACKEND, device.described)
    wrote = card.versions.get("tensorrt")
    if wrote != trt.__version__:
        what = "{} was built by TensorRT {}, this is {}".format(engine_path, wrote, trt.__version__)
        raise EngineError(what, "build it again here from its ONNX")
    with io.open(str(engine_path), "rb") as stream:
        data = stream.read()
    held = api.Held()
    log = api.logger(trt, held)
    told = str(card.settings.get(DLA_CORE, ""))
    core = int(told) if told.isdigit() else None
    with api.uninterrupted(held):
        runtime, engine = running.deserialize(trt, log, held, data, engine_path, threads, core)
        return running.TrtEngine(trt, log, held, runtime, engine, card, device, list(card.asked) or list(card.got))
