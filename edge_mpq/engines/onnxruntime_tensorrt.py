"""ONNX Runtime's TensorRT provider: an ONNX on an NVIDIA GPU without an engine of one's own."""

from edge_mpq.engines import _onnxruntime_gpu, base

BACKEND, PROVIDER = "onnxruntime_tensorrt", "TensorrtExecutionProvider"


def build(onnx_path, engine_path, target, plan=None, threads=1):
    """As every backend's build; EngineError where onnxruntime has no TensorRT provider."""
    return _onnxruntime_gpu.build(PROVIDER, BACKEND, onnx_path, engine_path, target, plan, threads)


def open(engine_path, threads=1):  # the contract of every backend
    """The engine at ``engine_path``; EngineError when it was built elsewhere, or is torn."""
    _onnxruntime_gpu.available(PROVIDER)
    card = base.verified_card(engine_path, BACKEND, _onnxruntime_gpu.device(PROVIDER))
    return _onnxruntime_gpu.GpuEngine(PROVIDER, engine_path, card, threads)
