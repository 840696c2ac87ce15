"""Ranges set by us: the host's percentile observer, or any other, written on each tensor.

TensorRT has no calibrator of percentiles, but takes a range for every tensor of the
network instead of one.  The ranges come from a RangeTable as a calibrators.cache.Cache; a
tensor without one is left to half or float.
"""

from edge_mpq.errors import CalibrationError, EngineError

FLOATS = ("FLOAT", "HALF")


class Ranges(object):
    """A calibration that sets ranges before the build.  missing: tensors of the network it had none for."""

    batch = None
    written = None

    def __init__(self, cache):
        self.cache, self.missing = cache, []

    def attach(self, trt, network, config, device):
        """Set the range of every tensor of ``network`` that the cache names."""
        if not hasattr(trt.ITensor, "set_dynamic_range"):
            what = "TensorRT {} takes no ranges".format(trt.__version__)
            raise EngineError(what, "export the model with Q/DQ; it carries its own")
        tensors, self.missing = _tensors(network), []
        if not set(tensors) & set(self.cache.scales):
            raise CalibrationError(
                "none of the {} ranges is of a tensor of this network".format(len(self.cache.scales)),
                "measure the ranges again for this ONNX",
            )
        for name, tensor in tensors.items():
            scale = self.cache.scales.get(name)
            if scale is None:
                self.missing.append(name)
            elif not tensor.set_dynamic_range(-127.0 * float(scale), 127.0 * float(scale)):
                what = "TensorRT refuses the range of {!r}".format(name)
                raise CalibrationError(what, "measure the ranges again; it is not above 0")

    def finish(self, built):
        """Nothing was called back, so there is nothing to raise."""


def _tensors(network):
    """name -> tensor of every float input and layer output."""
    found = [network.get_input(index) for index in range(network.num_inputs)]
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        found += [layer.get_output(slot) for slot in range(layer.num_outputs)]
    return {tensor.name: tensor for tensor in found if tensor is not None and tensor.dtype.name in FLOATS}


def calibration(batches=None, cache=None):
    """A :class:`Ranges` of ``cache``; percentiles are measured on the host, so ``batches`` alone do not do."""
    if cache is None:
        what = "percentile ranges are measured on the host, and there is no cache of them"
        raise CalibrationError(what, "give a cache, or calibrate here with entropy2 or minmax")
    return Ranges(cache)
