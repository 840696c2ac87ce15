"""An engine's inputs and outputs by name, through the API of TensorRT 8.5 on or the bindings before it.

Both classes have the same face; :func:`tensors_of` picks the one this engine has.
"""

from typing import Any

from edge_mpq.engines import _tensorrt_api as api
from edge_mpq.errors import EngineError


def tensors_of(trt, engine, context):
    """The face of ``engine`` and ``context`` that this TensorRT has."""
    return (Named if hasattr(engine, "num_io_tensors") else Bindings)(trt, engine, context)


class _Tensors(object):
    """What both have in common; each has ``is_input``, ``bind`` and ``enqueue`` in its own words."""

    is_input: Any
    _names: Any
    _dtype: Any
    _engine_shape: Any
    _profile: Any
    _set_shape: Any
    _shape: Any

    def __init__(self, trt, engine, context):
        self.trt, self.engine, self.context = trt, engine, context
        self.names = self._names()

    def inputs(self):
        """Names of the inputs, in the engine's order."""
        return [name for name in self.names if self.is_input(name)]

    def outputs(self):
        """Names of the outputs, in the engine's order."""
        return [name for name in self.names if not self.is_input(name)]

    def numpy_type(self, name):
        """numpy's name of the tensor's type."""
        return api.numpy_type(self._dtype(name), name)

    def bounds(self, name):
        """(least, greatest) shape that input ``name`` takes."""
        shape = tuple(self._engine_shape(name))
        if -1 not in shape:
            return shape, shape
        least, _, greatest = self._profile(name)
        return tuple(least), tuple(greatest)

    def shape(self, name):
        """The tensor's shape under the input's present one; EngineError where only a run would tell."""
        shape = tuple(self._shape(name))
        if -1 in shape:
            what = "the shape {} of output {!r} depends on the picture".format(list(shape), name)
            raise EngineError(what, "leave what selects (NonZero, NMS) out of the model, and do it after")
        return shape

    def set_shape(self, name, shape):
        """Give input ``name`` a shape for the runs that follow; a fixed one has its own."""
        if -1 in tuple(self._engine_shape(name)) and not self._set_shape(name, shape):
            what = "TensorRT refuses shape {} for input {!r}".format(list(shape), name)
            raise EngineError(what, "give as many pictures as it was built for, or build it for more")


class Named(_Tensors):
    """TensorRT 8.5 to 11."""

    def _names(self):
        return [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]

    def is_input(self, name):
        """Whether tensor ``name`` is an input."""
        return self.engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT

    def _dtype(self, name):
        return self.engine.get_tensor_dtype(name)

    def _engine_shape(self, name):
        return self.engine.get_tensor_shape(name)

    def _profile(self, name):
        return self.engine.get_tensor_profile_shape(name, 0)

    def _set_shape(self, name, shape):
        return self.context.set_input_shape(name, shape)

    def _shape(self, name):
        return self.context.get_tensor_shape(name)

    def bind(self, name, address):
        """Let tensor ``name`` live at ``address`` of the device."""
        if not self.context.set_tensor_address(name, address):
            raise EngineError("TensorRT refuses the buffer of {!r}".format(name), "build the engine again")

    def enqueue(self, stream):
        """Put one inference on ``stream``; whether TensorRT took it."""
        return self.context.execute_async_v3(stream)


class Bindings(_Tensors):
    """TensorRT 8.0 to 8.4: tensors have numbers, and addresses go in a list."""

    def _names(self):
        self._addresses = [0] * self.engine.num_bindings
        return [self.engine.get_binding_name(index) for index in range(self.engine.num_bindings)]

    def is_input(self, name):
        """Whether tensor ``name`` is an input."""
        return self.engine.binding_is_input(self.names.index(name))

    def _dtype(self, name):
        return self.engine.get_binding_dtype(self.names.index(name))

    def _engine_shape(self, name):
        return self.engine.get_binding_shape(self.names.index(name))

    def _profile(self, name):
        return self.engine.get_profile_shape(0, self.names.index(name))

    def _set_shape(self, name, shape):
        return self.context.set_binding_shape(self.names.index(name), shape)

    def _shape(self, name):
        return self.context.get_binding_shape(self.names.index(name))

    def bind(self, name, address):
        """Let tensor ``name`` live at ``address`` of the device."""
        self._addresses[self.names.index(name)] = address

    def enqueue(self, stream):
        """Put one inference on ``stream``; whether TensorRT took it."""
        return self.context.execute_async_v2(self._addresses, stream)
