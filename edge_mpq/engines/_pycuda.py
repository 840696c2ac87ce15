"""CUDA through pycuda, where a board has it: the same face as cuda.Runtime.

The device's primary context is pushed around each call, so nothing depends on which
thread made the buffers, and nothing is left on the context stack when the process ends.
Objects of pycuda are kept here under the integers that callers hold.  Graphs, which
pycuda's releases do not capture, go through libcudart where that is found.
"""

import contextlib
from typing import Any

from edge_mpq.engines import cuda
from edge_mpq.errors import EngineError


def open_device():
    """The :class:`Pycuda` of device 0.

    Raises ImportError where there is no pycuda, or one too old, and EngineError where it
    does not start.
    """
    import pycuda.driver as driver

    if not hasattr(driver.Device, "retain_primary_context"):  # before pycuda 2020.1
        raise ImportError("this pycuda knows no primary context")
    try:
        driver.init()
        return Pycuda(driver, driver.Device(0))
    except driver.Error as error:
        raise EngineError("pycuda cannot start CUDA ({})".format(error), cuda.MENDS[100]) from error


class Pycuda(cuda.Device):
    """CUDA through pycuda.  driver: the module pycuda.driver."""

    def __init__(self, driver, device):
        self._driver, self._context, self._kept = driver, device.retain_primary_context(), {}
        attribute = driver.device_attribute
        self.name, self.capability = device.name(), device.compute_capability()
        self.processors = device.get_attribute(attribute.MULTIPROCESSOR_COUNT)
        self.integrated = bool(device.get_attribute(attribute.INTEGRATED))
        self.version = ".".join(str(part) for part in driver.get_version()[:2])
        self._runtime: Any = None

    @contextlib.contextmanager
    def _current(self):
        self._context.push()
        try:
            yield
        except self._driver.Error as error:
            raise EngineError("CUDA failed through pycuda ({})".format(error), "see the CUDA error") from error
        finally:
            self._context.pop()

    def _keep(self, handle, thing):
        self._kept[handle] = thing
        return handle

    def device_memory(self, nbytes):
        with self._current():
            memory = self._driver.mem_alloc(max(nbytes, 1))
            return self._keep(int(memory), memory)

    def free_device(self, address):
        with self._current():
            self._kept.pop(address).free()

    def host_memory(self, nbytes):
        with self._current():
            flags = self._driver.host_alloc_flags.DEVICEMAP
            array = self._driver.pagelocked_empty(max(nbytes, 1), "uint8", mem_flags=flags)
            mapped = int(array.base.get_device_pointer())
        return cuda.HostMemory(array, array.ctypes.data, mapped)

    def free_host(self, memory):
        with self._current():
            base, memory.array = memory.array.base, None
            base.free()

    def stream(self):
        with self._current():
            stream = self._driver.Stream()
            return self._keep(stream.handle, stream)

    def free_stream(self, stream):
        with self._current():
            del self._kept[stream]

    def wait(self, stream):
        with self._current():
            self._kept[stream].synchronize()

    def to_device(self, address, memory, nbytes, stream):
        with self._current():
            self._driver.memcpy_htod_async(address, memory.array[:nbytes], self._kept[stream])

    def to_host(self, memory, address, nbytes, stream):
        with self._current():
            self._driver.memcpy_dtoh_async(memory.array[:nbytes], address, self._kept[stream])

    def elapsed_ms(self, stream, work):
        with self._current():
            start, end = self._driver.Event(), self._driver.Event()
            start.record(self._kept[stream])
            work()
            end.record(self._kept[stream])
            end.synchronize()
            return start.time_till(end)

    def capture(self, stream, work):
        """As Runtime.capture; EngineError where there is no libcudart beside pycuda."""
        if self._runtime is None:
            library = cuda.find_runtime()
            if library is None:
                raise EngineError("pycuda captures no CUDA graphs", "install libcudart, or run without a graph")
            self._runtime = cuda.Runtime(library)
        with self._current():
            return self._runtime.capture(stream, work)

    def launch(self, graph, stream):
        with self._current():
            self._runtime.launch(graph, stream)

    def free_graph(self, graph):
        with self._current():
            self._runtime.free_graph(graph)
