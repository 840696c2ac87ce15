"""The few things an engine asks of CUDA: buffers, copies, a stream, events, a graph.

One face over two ways to get them: pycuda where it imports, else the CUDA runtime
library through ctypes, which needs nothing compiled.  Both use the device's primary
context, the one that TensorRT uses too, so any thread may call.

Addresses, streams and graphs are plain integers; 0 is none.
"""

import ctypes
import glob

import numpy as np

from edge_mpq.errors import EngineError

NAMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2")
PLACES = ("/usr/local/cuda*/lib64/libcudart.so*", "/usr/local/cuda*/targets/*/lib/libcudart.so*")

# Values of the CUDA headers, the same from 10.2 to 13.
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
HOST_ALLOC_MAPPED = 2
STREAM_NON_BLOCKING = 1
CAPTURE_THREAD_LOCAL = 1
MULTIPROCESSORS, INTEGRATED, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 18, 75, 76

MENDS = {
    2: "free memory: close other programs, add swap, or build with a smaller workspace",
    35: "there is no driver, or one older than this CUDA; install it (on a Jetson: flash the JetPack of this CUDA)",
    100: "no GPU is visible here; on a Jetson add the user to group video, in a container start with --runtime nvidia",
    700: "a kernel read outside its buffers; the process must start anew",
}

_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
_out = ctypes.POINTER(_pointer)
_number = ctypes.POINTER(ctypes.c_int)
SIGNATURES = {
    "cudaMalloc": (_out, _size),
    "cudaFree": (_pointer,),
    "cudaHostAlloc": (_out, _size, ctypes.c_uint),
    "cudaFreeHost": (_pointer,),
    "cudaHostGetDevicePointer": (_out, _pointer, ctypes.c_uint),
    "cudaMemcpyAsync": (_pointer, _pointer, _size, ctypes.c_int, _pointer),
    "cudaStreamCreateWithFlags": (_out, ctypes.c_uint),
    "cudaStreamDestroy": (_pointer,),
    "cudaStreamSynchronize": (_pointer,),
    "cudaEventCreate": (_out,),
    "cudaEventDestroy": (_pointer,),
    "cudaEventRecord": (_pointer, _pointer),
    "cudaEventSynchronize": (_pointer,),
    "cudaEventElapsedTime": (ctypes.POINTER(ctypes.c_float), _pointer, _pointer),
    "cudaStreamBeginCapture": (_pointer, ctypes.c_int),
    "cudaStreamEndCapture": (_pointer, _out),
    "cudaGraphInstantiate": (_out, _pointer, _out, ctypes.c_char_p, _size),
    "cudaGraphInstantiateWithFlags": (_out, _pointer, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_pointer, _pointer),
    "cudaGraphDestroy": (_pointer,),
    "cudaGraphExecDestroy": (_pointer,),
    "cudaDeviceGetAttribute": (_number, ctypes.c_int, ctypes.c_int),
    "cudaGetDevice": (_number,),
    "cudaRuntimeGetVersion": (_number,),
}


class HostMemory(object):
    """Page-locked host memory that the device sees too.

    array: uint8 [nbytes], a view of it.  address: of the host.  device_address: of the
    same bytes as the device sees them.
    """

    def __init__(self, array, address, device_address):
        self.array, self.address, self.device_address = array, address, device_address


class Device(object):
    """The CUDA device that TensorRT runs on, described once.

    name: as its driver calls it.  capability: (major, minor).  processors: how many
    multiprocessors.  version: of the CUDA library, ``10.2``.
    """

    name, capability, processors, integrated, version = "GPU", (0, 0), 0, False, ""

    @property
    def described(self):
        """What an engine is tied to: boards of one chip differ in their multiprocessors."""
        return "{} sm_{}{} with {} SMs".format(self.name, self.capability[0], self.capability[1], self.processors)

    @property
    def coherent(self):
        """Whether the GPU reads mapped host memory through the processor's cache (Xavier and later)."""
        return self.integrated and self.capability >= (7, 2)


def open_device(library=None, driver=None):
    """The :class:`Device` of this machine; EngineError where there is no CUDA.

    library: a loaded libcudart; without it pycuda is tried, then libcudart is looked for.
    driver: a loaded libcuda, asked for the device's name only.
    """
    if library is None:
        try:
            from edge_mpq.engines import _pycuda

            return _pycuda.open_device()
        except ImportError:
            library = find_runtime()
            if library is None:
                raise EngineError(
                    "there is no CUDA runtime library (libcudart) on this machine",
                    "on a Jetson: sudo apt install nvidia-jetpack; elsewhere install CUDA, or pycuda",
                ) from None
    return Runtime(library, driver or _load(("libcuda.so.1", "libcuda.so")))


def find_runtime():
    """A loaded libcudart, None where there is none."""
    return _load(NAMES + tuple(sorted(path for place in PLACES for path in glob.glob(place))))


def _load(names):
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            pass
    return None


def device_name(driver, index=0):
    """What libcuda calls device ``index``; ``GPU`` where it cannot tell."""
    text = ctypes.create_string_buffer(256)
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetName(text, len(text), index):
        return "GPU"
    return text.value.decode("utf-8", "replace")


class Runtime(Device):
    """CUDA through libcudart, versions 10.2 to 13."""

    def __init__(self, library, driver=None):
        self._library = library
        for name, arguments in SIGNATURES.items():
            function = getattr(library, name, None)  # WithFlags came with CUDA 11.4
            if function is not None:
                function.argtypes, function.restype = list(arguments), ctypes.c_int
        library.cudaGetErrorString.restype = library.cudaGetErrorName.restype = ctypes.c_char_p
        index = self._ask("cudaGetDevice")
        version = self._ask("cudaRuntimeGetVersion")
        self.version = "{}.{}".format(version // 1000, version % 1000 // 10)
        wanted = (CAPABILITY_MAJOR, CAPABILITY_MINOR, MULTIPROCESSORS, INTEGRATED)
        major, minor, processors, integrated = [self._ask("cudaDeviceGetAttribute", item, index) for item in wanted]
        self.capability, self.processors, self.integrated = (major, minor), processors, bool(integrated)
        self.name = device_name(driver, index)

    def _call(self, function, *arguments):
        code = getattr(self._library, function)(*arguments)
        if code:
            name = self._library.cudaGetErrorName(code) or b"unknown"
            text = self._library.cudaGetErrorString(code) or b""
            what = "{} failed: CUDA error {} {} ({})".format(function, code, name.decode(), text.decode())
            raise EngineError(what, MENDS.get(code, "see the CUDA error; a restart of the process clears most"))

    def _ask(self, function, *arguments):
        answer = ctypes.c_int()
        self._call(function, ctypes.byref(answer), *arguments)
        return answer.value

    def _make(self, function, *arguments):
        answer = ctypes.c_void_p()
        self._call(function, ctypes.byref(answer), *arguments)
        return answer.value or 0

    def device_memory(self, nbytes):
        """The address of new device memory."""
        return self._make("cudaMalloc", max(nbytes, 1))

    def free_device(self, address):
        self._call("cudaFree", address)

    def host_memory(self, nbytes):
        """:class:`HostMemory` of ``nbytes``."""
        address = self._make("cudaHostAlloc", max(nbytes, 1), HOST_ALLOC_MAPPED)
        mapped = self._make("cudaHostGetDevicePointer", address, 0)
        array = np.frombuffer((ctypes.c_uint8 * max(nbytes, 1)).from_address(address), np.uint8)
        return HostMemory(array, address, mapped)

    def free_host(self, memory):
        memory.array = None
        self._call("cudaFreeHost", memory.address)

    def stream(self):
        """A new stream that does not wait for the default one."""
        return self._make("cudaStreamCreateWithFlags", STREAM_NON_BLOCKING)

    def free_stream(self, stream):
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream):
        """Return when all work of ``stream`` is done."""
        self._call("cudaStreamSynchronize", stream)

    def to_device(self, address, memory, nbytes, stream):
        """Enqueue a copy of the first ``nbytes`` of HostMemory ``memory`` to ``address``."""
        self._call("cudaMemcpyAsync", address, memory.address, nbytes, HOST_TO_DEVICE, stream)

    def to_host(self, memory, address, nbytes, stream):
        """Enqueue a copy of ``nbytes`` at ``address`` into HostMemory ``memory``."""
        self._call("cudaMemcpyAsync", memory.address, address, nbytes, DEVICE_TO_HOST, stream)

    def elapsed_ms(self, stream, work):
        """Milliseconds the device took for what ``work()`` enqueues on ``stream``."""
        start, end = self._make("cudaEventCreate"), self._make("cudaEventCreate")
        try:
            self._call("cudaEventRecord", start, stream)
            work()
            self._call("cudaEventRecord", end, stream)
            self._call("cudaEventSynchronize", end)
            answer = ctypes.c_float()
            self._call("cudaEventElapsedTime", ctypes.byref(answer), start, end)
        finally:
            self._call("cudaEventDestroy", start)
            self._call("cudaEventDestroy", end)
        return answer.value

    def capture(self, stream, work):
        """What ``work()`` enqueues on ``stream`` as a graph to :meth:`launch`; nothing runs yet."""
        self._call("cudaStreamBeginCapture", stream, CAPTURE_THREAD_LOCAL)
        graph = ctypes.c_void_p()
        try:
            work()
        except BaseException:
            # The stream is of no use until its capture is ended, well or badly.
            if not self._library.cudaStreamEndCapture(stream, ctypes.byref(graph)) and graph.value:
                self._library.cudaGraphDestroy(graph.value)
            raise
        self._call("cudaStreamEndCapture", stream, ctypes.byref(graph))
        try:
            if hasattr(self._library, "cudaGraphInstantiateWithFlags"):
                return self._make("cudaGraphInstantiateWithFlags", graph.value, 0)
            return self._make("cudaGraphInstantiate", graph.value, None, None, 0)  # until CUDA 11.3
        finally:
            self._call("cudaGraphDestroy", graph.value)

    def launch(self, graph, stream):
        """Enqueue a captured graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph):
        self._call("cudaGraphExecDestroy", graph)
