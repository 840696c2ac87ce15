"""The marker of the tests that need NVIDIA's own bindings."""


def pytest_configure(config):
    config.addinivalue_line("markers", "bindings: needs EDGE_MPQ_TRT_BINDINGS, a folder of installed TensorRT bindings")
