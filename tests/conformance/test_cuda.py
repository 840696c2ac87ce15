"""CUDA through ctypes, on a libcudart of Python."""

import ctypes
import sys
import types

import numpy as np
import pytest

from edge_mpq.engines import cuda
from edge_mpq.errors import EngineError
from tests.conformance.fake_cudart import Cudart, Driver


def _device(**more) -> tuple[cuda.Runtime, Cudart]:
    cudart = Cudart(**more)
    return cuda.Runtime(cudart, Driver()), cudart


def test_the_device_is_described() -> None:
    device, _ = _device(capability=(5, 3), version=10020)
    assert device.described == "Orin sm_53 with 8 SMs"
    assert (device.version, device.coherent) == ("10.2", False)
    assert _device()[0].coherent and not _device(integrated=False)[0].coherent
    assert cuda.device_name(None) == "GPU"


def test_every_function_gets_its_signature() -> None:
    _, cudart = _device()
    for name, arguments in cuda.SIGNATURES.items():
        if name == "cudaGraphInstantiate":
            continue  # not asked of a library that has the newer one
        assert getattr(cudart, name).argtypes == list(arguments)
        assert getattr(cudart, name).restype is ctypes.c_int


def test_bytes_go_to_the_device_and_back() -> None:
    device, cudart = _device()
    stream, address = device.stream(), device.device_memory(64)
    out, back = device.host_memory(64), device.host_memory(64)
    out.array[:] = np.arange(64)
    device.to_device(address, out, 64, stream)
    device.to_host(back, address, 32, stream)
    device.wait(stream)
    assert list(back.array[:33]) == [*range(32), 0]
    assert out.device_address
    device.free_host(out)
    device.free_host(back)
    device.free_device(address)
    device.free_stream(stream)
    assert cudart.leaks() == {} and out.array is None


@pytest.mark.parametrize(("version", "used"), [
    (10020, "cudaGraphInstantiate"), (11030, "cudaGraphInstantiate"),
    (11040, "cudaGraphInstantiateWithFlags"), (12060, "cudaGraphInstantiateWithFlags"),
    (13000, "cudaGraphInstantiateWithFlags"),
])  # fmt: skip
def test_a_graph_runs_only_when_launched(version: int, used: str) -> None:
    device, cudart = _device(version=version)
    stream, done = device.stream(), []
    graph = device.capture(stream, lambda: cudart.enqueue(stream, lambda: done.append(1)))
    assert done == [] and used in cudart.calls
    device.launch(graph, stream)
    device.launch(graph, stream)
    assert done == [1, 1]
    device.free_graph(graph)
    device.free_stream(stream)
    assert cudart.leaks() == {}


def test_a_capture_that_fails_leaves_the_stream_usable() -> None:
    device, cudart = _device()
    stream = device.stream()
    with pytest.raises(ZeroDivisionError):
        device.capture(stream, lambda: 1 // 0)
    device.wait(stream)
    assert cudart.leaks() == {"stream": 1}


def test_time_is_taken_between_events_that_are_freed() -> None:
    device, cudart = _device()
    stream, done = device.stream(), []
    assert device.elapsed_ms(stream, lambda: done.append(1)) == 1.5 and done == [1]
    with pytest.raises(ZeroDivisionError):
        device.elapsed_ms(stream, lambda: 1 // 0)
    assert cudart.leaks() == {"stream": 1}


@pytest.mark.parametrize(("code", "mend"), [(2, "add swap"), (35, "there is no driver"), (999, "see the CUDA error")])
def test_an_error_says_its_code_and_the_mend(code: int, mend: str) -> None:
    device, cudart = _device()
    cudart.fail["cudaMalloc"] = code
    with pytest.raises(EngineError, match=f"cudaMalloc failed: CUDA error {code} cudaErrorOfATest .*; .*{mend}"):
        device.device_memory(16)


def test_no_gpu_is_told_at_the_door() -> None:
    with pytest.raises(EngineError, match="cudaGetDevice failed: CUDA error 100 .*group video"):
        cuda.open_device(Cudart(fail={"cudaGetDevice": 100}))


def test_no_library_is_told_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)  # as if it were not installed
    monkeypatch.setattr(cuda, "find_runtime", lambda: None)
    with pytest.raises(EngineError, match="no CUDA runtime library.*nvidia-jetpack"):
        cuda.open_device()


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A pycuda that counts its context's pushes and pops, on host memory."""
    seen = {"depth": 0, "deepest": 0}

    class Context:
        def push(self) -> None:
            seen["depth"] += 1
            seen["deepest"] = max(seen["depth"], seen["deepest"])

        def pop(self) -> None:
            seen["depth"] -= 1

    class Device:
        def __init__(self, index: int) -> None:
            assert index == 0

        def retain_primary_context(self) -> Context:
            return Context()

        def name(self) -> str:
            return "NVIDIA Tegra X2"

        def compute_capability(self) -> tuple[int, int]:
            return 6, 2

        def get_attribute(self, attribute: str) -> int:
            return {"processors": 2, "integrated": 1}[attribute]

    class Allocation:
        def __init__(self, size: int) -> None:
            assert seen["depth"]
            self.data = np.zeros(size, np.uint8)

        def __int__(self) -> int:
            return self.data.ctypes.data

        def free(self) -> None:
            assert seen["depth"]

    class Stream:
        handle = 77

        def synchronize(self) -> None:
            assert seen["depth"]

    class Locked(np.ndarray):
        @property
        def base(self):
            return types.SimpleNamespace(get_device_pointer=lambda: 99, free=lambda: None)

    driver = types.ModuleType("pycuda.driver")
    members = {
        "Device": Device, "Stream": Stream, "mem_alloc": Allocation, "init": lambda: None, "Error": RuntimeError,
        "get_version": lambda: (10, 2, 0),
        "device_attribute": types.SimpleNamespace(MULTIPROCESSOR_COUNT="processors", INTEGRATED="integrated"),
        "host_alloc_flags": types.SimpleNamespace(DEVICEMAP=2),
        "pagelocked_empty": lambda size, dtype, mem_flags: np.zeros(size, dtype).view(Locked),
        "memcpy_htod_async": lambda to, array, stream: ctypes.memmove(to, array.ctypes.data, array.nbytes),
        "memcpy_dtoh_async": lambda array, to, stream: ctypes.memmove(array.ctypes.data, to, array.nbytes),
    }  # fmt: skip
    for name, member in members.items():
        setattr(driver, name, member)
    package = types.ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return seen


def test_pycuda_is_taken_where_it_is_installed(pycuda: dict) -> None:
    device = cuda.open_device()
    assert device.described == "NVIDIA Tegra X2 sm_62 with 2 SMs" and device.version == "10.2"
    stream, address = device.stream(), device.device_memory(8)
    out, back = device.host_memory(8), device.host_memory(8)
    assert (stream, out.device_address) == (77, 99)
    out.array[:] = range(8)
    device.to_device(address, out, 8, stream)
    device.to_host(back, address, 8, stream)
    device.wait(stream)
    assert list(back.array) == list(range(8))
    device.free_host(out)
    device.free_device(address)
    device.free_stream(stream)
    # Nothing is left on the context stack, which is what crashes pycuda at exit.
    assert pycuda["depth"] == 0 and pycuda["deepest"] == 1


def test_pycuda_captures_graphs_through_libcudart_if_it_is_there(pycuda: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    device = cuda.open_device()
    monkeypatch.setattr(cuda, "find_runtime", lambda: None)
    with pytest.raises(EngineError, match="pycuda captures no CUDA graphs"):
        device.capture(77, lambda: None)
    cudart = Cudart()
    monkeypatch.setattr(cuda, "find_runtime", lambda: cudart)
    done: list[int] = []
    graph = device.capture(77, lambda: cudart.enqueue(77, lambda: done.append(1)))
    device.launch(graph, 77)
    device.free_graph(graph)
    assert done == [1] and cudart.leaks() == {}


def test_a_pycuda_that_is_too_old_makes_way(pycuda: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["pycuda.driver"].Device, "retain_primary_context")
    cudart = Cudart()
    monkeypatch.setattr(cuda, "find_runtime", lambda: cudart)
    assert isinstance(cuda.open_device(), cuda.Runtime)
