"""The ways out, named by both ends: ``onnx_from_torch``, ``qdq_into_onnx``, ``engine_from_onnx``."""
