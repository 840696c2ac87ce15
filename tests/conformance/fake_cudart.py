"""A libcudart of Python: device memory is host memory, a stream runs what it is given at once.

While a stream captures, what it is given is kept instead, and runs when the graph is
launched.  Functions take what ctypes would be given: ``byref`` objects, integers, None.
Runs on Python 3.6.
"""

import ctypes


class Cudart:
    """The library.  fail: function -> the CUDA error it gives.  ``calls`` holds names in order."""

    def __init__(self, capability=(8, 7), integrated=True, version=12060, fail=None):
        self.attributes = {16: 8, 18: int(integrated), 75: capability[0], 76: capability[1]}
        self.version, self.fail, self.calls = version, dict(fail or {}), []
        self.live, self.kinds, self.captures, self.graphs = {}, {}, {}, {}
        self._functions, self._handles = {}, 0

    def __getattr__(self, name):
        # Only functions may be given argtypes, so each is made once and kept.
        if name == "cudaGraphInstantiateWithFlags" and self.version < 11040:
            raise AttributeError(name)
        if name not in self._functions:
            try:
                body = object.__getattribute__(self, "_" + name)
            except AttributeError:
                raise AttributeError(name) from None

            def function(*arguments):
                self.calls.append(name)
                if name in self.fail:
                    return self.fail[name]
                return body(*arguments) or 0

            self._functions[name] = function
        return self._functions[name]

    def enqueue(self, stream, work):
        """Give ``work()`` to ``stream``, as a kernel would be."""
        if stream in self.captures:
            self.captures[stream].append(work)
        else:
            work()

    def leaks(self):
        """What was made and never freed: kind -> how many."""
        found: dict[str, int] = {}
        for kind in self.kinds.values():
            found[kind] = found.get(kind, 0) + 1
        return found

    def _new(self, out, kind, thing=None):
        self._handles += 16
        handle = ctypes.addressof(thing) if thing is not None else self._handles
        self.live[handle], self.kinds[handle] = thing, kind
        out._obj.value = handle

    def _gone(self, handle, kind):
        assert self.kinds.get(handle) == kind, f"{kind} {handle} is not there to free"
        del self.live[handle], self.kinds[handle]

    def _cudaMalloc(self, out, size):
        self._new(out, "device", (ctypes.c_uint8 * size)())

    def _cudaFree(self, address):
        self._gone(address, "device")

    def _cudaHostAlloc(self, out, size, flags):
        assert flags == 2
        self._new(out, "host", (ctypes.c_uint8 * size)())

    def _cudaFreeHost(self, address):
        self._gone(address, "host")

    def _cudaHostGetDevicePointer(self, out, address, flags):
        assert self.kinds[address] == "host" and flags == 0
        out._obj.value = address

    def _cudaMemcpyAsync(self, destination, source, size, kind, stream):
        assert (self.kinds[destination], self.kinds[source], kind) in (("device", "host", 1), ("host", "device", 2))
        assert size <= len(self.live[destination]) and size <= len(self.live[source])
        self.enqueue(stream, lambda: ctypes.memmove(destination, source, size))

    def _cudaStreamCreateWithFlags(self, out, flags):
        self._new(out, "stream")

    def _cudaStreamDestroy(self, stream):
        self._gone(stream, "stream")

    def _cudaStreamSynchronize(self, stream):
        assert self.kinds[stream] == "stream"
        return 900 if stream in self.captures else 0

    def _cudaStreamBeginCapture(self, stream, mode):
        assert mode == 1 and stream not in self.captures
        self.captures[stream] = []

    def _cudaStreamEndCapture(self, stream, out):
        work = self.captures.pop(stream)
        self._new(out, "graph")
        self.graphs[out._obj.value] = work

    def _instantiate(self, out, graph):
        work = self.graphs[graph]
        self._new(out, "executable")
        self.graphs[out._obj.value] = work

    def _cudaGraphInstantiateWithFlags(self, out, graph, flags):
        self._instantiate(out, graph)

    def _cudaGraphInstantiate(self, out, graph, node, text, size):
        assert self.version < 12000 and (node, text, size) == (None, None, 0)
        self._instantiate(out, graph)

    def _cudaGraphLaunch(self, executable, stream):
        assert self.kinds[executable] == "executable"
        for work in self.graphs[executable]:
            work()

    def _cudaGraphDestroy(self, graph):
        self._gone(graph, "graph")

    def _cudaGraphExecDestroy(self, executable):
        self._gone(executable, "executable")

    def _cudaEventCreate(self, out):
        self._new(out, "event")

    def _cudaEventDestroy(self, event):
        self._gone(event, "event")

    def _cudaEventRecord(self, event, stream):
        assert self.kinds[event] == "event" and self.kinds[stream] == "stream"

    def _cudaEventSynchronize(self, event):
        assert self.kinds[event] == "event"

    def _cudaEventElapsedTime(self, out, start, end):
        out._obj.value = 1.5

    def _cudaDeviceGetAttribute(self, out, attribute, device):
        out._obj.value = self.attributes[attribute]

    def _cudaGetDevice(self, out):
        out._obj.value = 0

    def _cudaRuntimeGetVersion(self, out):
        out._obj.value = self.version

    @property
    def cudaGetErrorName(self):
        return self._text(b"cudaErrorOfATest")

    @property
    def cudaGetErrorString(self):
        return self._text(b"as the test wants it")

    @staticmethod
    def _text(text):
        def answer(code):
            return text

        return answer


class Driver:
    """A libcuda that knows its device's name."""

    def __init__(self, name=b"Orin"):
        self.name = name

    def cuInit(self, flags):
        return 0

    def cuDeviceGetName(self, text, size, device):
        text.value = self.name
        return 0
