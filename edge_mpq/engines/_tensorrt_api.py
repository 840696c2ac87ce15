"""What differs from one TensorRT to the next, asked of the library and never guessed by its number.

Whatever is passed to TensorRT to be called back is guarded here: an exception that leaves
such a callback kills the process on 8.0 and 8.2, and is swallowed on later ones.
"""

import contextlib
import os
import re
import signal
import struct
import threading
from collections import deque
from typing import Any, Deque

from edge_mpq.errors import EngineError

# Data types by name; trt.nptype() fails on 8.x with a numpy of today.
NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "BOOL": "bool",
         "UINT8": "uint8", "INT64": "int64"}  # fmt: skip
FORMATS = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16", "int8": "INT8"}
KEPT_MESSAGES = 200
PLAN_TAG = b"ftrt"


def library():
    """The tensorrt module; EngineError where it does not import."""
    try:
        import tensorrt
    except ImportError as error:
        raise EngineError(
            "TensorRT does not import in this Python ({})".format(error),
            "on a Jetson use the system's python3, for which JetPack brings it (sudo apt install python3-libnvinfer); "
            "elsewhere pip install tensorrt",
        ) from error
    return tensorrt


def version(trt):
    """(10, 3, 0) of ``10.3.0``; parts that are no numbers end it."""
    return tuple(int(part) for part in re.findall(r"\d+", trt.__version__)[:3])


def member(enumeration, name):
    """The member of a TensorRT enumeration, None where this version has none of that name."""
    return getattr(enumeration, name, None)


def name_of(value):
    """The name of an enumeration's member: ``CONVOLUTION``."""
    return value.name


def numpy_type(dtype, tensor):
    """numpy's name of a TensorRT data type; EngineError where numpy has none."""
    if name_of(dtype) not in NUMPY:
        raise EngineError(
            "tensor {!r} is {}, which numpy does not hold".format(tensor, name_of(dtype)),
            "export the model with float32 inputs and outputs",
        )
    return NUMPY[name_of(dtype)]


class Held(object):
    """The first exception of a callback, held until TensorRT has returned."""

    def __init__(self):
        self.error = None

    def call(self, function, *arguments):
        """``function(*arguments)``, or None where it raised."""
        try:
            return function(*arguments)
        except BaseException as error:  # KeyboardInterrupt too: it must not pass through C++
            if self.error is None:
                self.error = error
            return None

    def release(self):
        """Raise what was held, if anything."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error


@contextlib.contextmanager
def uninterrupted(held):
    """A block in which Ctrl-C and SIGTERM wait until TensorRT has returned; what they raise is raised at its end.

    A signal that comes while C++ runs would raise on the first line of the next callback, before
    any guard of it.  The second one ends the process at once.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, _waiting(held, handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    held.release()


def _waiting(held, handler):
    def wait(number, frame):
        held.call(handler, number, frame)
        signal.signal(number, signal.SIG_DFL)
        os.write(2, b"\nstopping as soon as TensorRT lets go; once more ends it at once\n")

    return wait


def logger(trt, held, listen=None):
    """A TensorRT logger that keeps errors and warnings in ``errors`` and ``warnings``.

    listen: called with the text of every message.
    """

    base: Any = trt.ILogger

    class Log(base):
        def __init__(self):
            base.__init__(self)
            self.errors: Deque[str] = deque(maxlen=KEPT_MESSAGES)
            self.warnings: Deque[str] = deque(maxlen=KEPT_MESSAGES)

        def log(self, severity, msg):
            held.call(self._keep, severity, msg)

        def _keep(self, severity, msg):
            if severity in (trt.Logger.INTERNAL_ERROR, trt.Logger.ERROR):
                self.errors.append(msg)
            elif severity == trt.Logger.WARNING:
                self.warnings.append(msg)
            if listen is not None:
                listen(msg)

    return Log()


def told(log):
    """The last errors of a logger in one line, for an error's text."""
    lines = [line.strip() for line in list(log.errors)[-4:]]
    return "; ".join(lines)[:1200] if lines else "TensorRT says no more"


def create(make, what):
    """``make()``, a TensorRT object; EngineError where TensorRT made none."""
    try:
        made = make()
    except TypeError as error:
        # pybind11's words for a factory that returned NULL.
        if "nullptr" not in str(error):
            raise
        made = None
    if made is None:
        raise EngineError(
            "TensorRT made no {}: CUDA did not start".format(what),
            "the driver is missing or older than this TensorRT's CUDA, or no GPU is visible; on a Jetson add the user "
            "to group video, in a container start with --runtime nvidia",
        )
    return made


def monitor(trt, held, tell):
    """A progress monitor (TensorRT 10 on) that tells ``tell(phase, step, steps)``."""

    base: Any = trt.IProgressMonitor

    class Monitor(base):
        def __init__(self):
            base.__init__(self)
            self.steps = {}

        def phase_start(self, phase_name, parent_phase, num_steps):
            held.call(self._start, phase_name, num_steps)

        def step_complete(self, phase_name, step):
            held.call(self._step, phase_name, step)
            return held.error is None  # False ends the build: Ctrl-C arrives here

        def phase_finish(self, phase_name):
            held.call(self.steps.pop, phase_name, None)

        def _start(self, phase, steps):
            self.steps[phase] = steps
            tell(phase, 0, steps)

        def _step(self, phase, step):
            tell(phase, step + 1, self.steps.get(phase, step + 1))

    return Monitor()


class TimedLayers(object):
    """Progress before TensorRT 10, from what the builder logs of each layer it times."""

    def __init__(self, tell):
        self.tell, self.seen, self.layers = tell, set(), 0

    def __call__(self, message):
        layer = timed_layer(message)
        if layer and layer not in self.seen:
            self.seen.add(layer)
            self.tell("timing kernels", len(self.seen), max(self.layers, len(self.seen)))


def timed_layer(message):
    """The layer that a verbose message of the builder says it times, or ''."""
    found = re.search(r"Timing Runner: (.+) \([^()]*\)", message)
    return found.group(1) if found else ""


def profiler(trt, held, report):
    """A TensorRT profiler that calls ``report(layer, ms)``."""

    base: Any = trt.IProfiler

    class Profiler(base):
        def __init__(self):
            base.__init__(self)

        def report_layer_time(self, layer_name, ms):
            held.call(report, layer_name, ms)

    return Profiler()


def plan_version(data):
    """(major, minor, patch, build) of the TensorRT that wrote the plan, () where it does not say.

    Plans say so from TensorRT 8.6 on: a tag of four letters, a zero, and the version in
    bytes 24 to 27.
    """
    if len(data) < 28 or data[:4] != PLAN_TAG or struct.unpack_from("<I", data, 4)[0] != 0:
        return ()
    found = struct.unpack_from("4B", data, 24)
    return found if found[0] >= 8 else ()
