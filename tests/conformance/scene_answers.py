"""What the little TensorRT of scene.py answers, by ``Class.member``.  Runs on Python 3.6."""

import ctypes
import json

import numpy as np

PICTURE = (3, 4, 4)
TENSORS = ["input", "output"]
KINDS = {"FLOAT": "Row major linear FP32", "HALF": "Row major linear FP16 format", "INT8": "Row major Int8 format"}
WEIGHTS = {"FLOAT": "Float", "HALF": "Half", "INT8": "Int8"}


def answers_of(scene):
    """The answers of one scene; they are bound to its module once that is made."""

    def new(of_class, **attributes):
        return scene._new(of_class, **attributes)

    def make_builder(builder, logger):
        scene.log = logger
        if "builder" in scene.faults:
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def make_network(builder, flags=0):
        count = len(scene.network)
        return new("INetworkDefinition", num_layers=count, num_inputs=1, num_outputs=1)

    def parse(parser, model, path=None):
        assert isinstance(model, bytes)
        return "parse" not in scene.faults

    def make_config(builder):
        return new("IBuilderConfig")

    def set_shape(profile, name, least, best, greatest):
        profile.__dict__["bounds"] = [least[0], best[0], greatest[0]]

    def timing_cache(config, data):
        cache = new("ITimingCache")
        cache.__dict__["data"] = data
        return cache

    def timing_bytes(cache):
        memory = new("IHostMemory")
        memory.__dict__["data"] = cache.__dict__["data"] + b"timed"
        return memory

    def deserialize(runtime, data):
        if "deserialize" in scene.faults or data[:4] != b"ftrt":
            scene._say(scene.log, "ERROR", "Version tag does not match")
            return None
        engine = new("ICudaEngine")
        engine.__dict__["facts"] = json.loads(data[28:].decode("utf-8"))
        return engine

    def make_runtime(runtime, logger):
        scene.log = logger

    def make_context(engine, *_):
        context = new("IExecutionContext")
        facts = engine.__dict__["facts"]
        least, _, greatest = facts["batch"]
        context.__dict__.update(facts=facts, batch=greatest if least == greatest else 0, addresses={})
        return context

    def bounds(engine):
        batch = engine.__dict__["facts"]["batch"]
        return [(count,) + PICTURE for count in batch]

    def shape(owner, name):
        facts = owner.__dict__["facts"]
        fixed = facts["batch"][0] if scene.batch > 0 else -1
        return (fixed,) + scene.output_rest if name == "output" else (fixed,) + PICTURE

    def set_input_shape(context, name, given):
        least, _, greatest = context.__dict__["facts"]["batch"]
        fits = least <= given[0] <= greatest and tuple(given[1:]) == PICTURE
        if fits:
            context.__dict__["batch"] = given[0]
        return fits

    def context_shape(context, name):
        return (context.__dict__["batch"],) + shape(context, name)[1:]

    def set_address(context, name, address):
        context.__dict__["addresses"][name] = address
        return True

    def run(context, stream):
        if "run" in scene.faults or ("capture" in scene.faults and stream in scene.cudart.captures):
            scene._say(scene.log, "ERROR", "the run went wrong")
            return False
        batch, addresses = context.__dict__["batch"], dict(context.__dict__["addresses"])

        def work():
            size = int(np.prod(PICTURE))
            pictures = np.frombuffer((ctypes.c_float * (batch * size)).from_address(addresses["input"]), np.float32)
            answer = np.frombuffer((ctypes.c_float * (batch * 2)).from_address(addresses["output"]), np.float32)
            pictures = pictures.reshape(batch, size)
            answer.reshape(batch, 2)[:] = np.stack([pictures.sum(axis=1), pictures.max(axis=1)], axis=1)

        scene.cudart.enqueue(stream, work)
        profiler = context.__dict__.get("_set", {}).get("profiler")
        if profiler is not None:
            for name, ms in (("conv1 + relu", 2.0), ("Reformatting CopyNode for Output Tensor 0 to conv1", 0.5),
                             ("conv2", 1.0), ("fc", 0.25)):  # fmt: skip
                profiler.report_layer_time(name, ms)
        return True

    def run_bindings(context, bindings, stream):
        assert all(isinstance(address, int) for address in bindings)
        context.__dict__["addresses"] = {name: bindings[index] for index, name in enumerate(TENSORS)}
        return run(context, stream)

    def information(inspector, form):
        assert form.name == "JSON"
        assert inspector.execution_context is not None
        types = inspector.__dict__["facts"]["types"]
        rows = [
            {
                "Name": "conv1 + relu" if name == "conv1" else name,
                "LayerType": "CaskConvolution",
                "Inputs": [{"Name": "x", "Format/Datatype": KINDS[types[name]]}],
                "Outputs": [],
                "Weights": {"Type": WEIGHTS[types[name]], "Count": 10},
            }
            for name in ("conv1", "conv2", "fc")
        ]
        return json.dumps({"Layers": rows, "Bindings": TENSORS})

    def make_inspector(engine):
        inspector = new("EngineInspector")
        inspector.__dict__["facts"] = engine.__dict__["facts"]
        return inspector

    def mode(engine, name):
        return scene.made.TensorIOMode.INPUT if name == "input" else scene.made.TensorIOMode.OUTPUT

    def dtype(engine, _):
        return scene.made.DataType.FLOAT

    def by_index(function):
        return lambda owner, index, *rest: function(owner, TENSORS[index], *rest)

    return {
        "Builder.__init__": make_builder,
        "Builder.create_network": make_network,
        "Builder.create_builder_config": make_config,
        "Builder.num_DLA_cores": 2,
        "Builder.build_serialized_network": lambda builder, network, config: scene.build(network, config),
        "Runtime.__init__": make_runtime,
        "OnnxParser.parse": parse,
        "OnnxParser.num_errors": 1,
        "ParserError.desc": "No importer registered for op: Foo",
        "ParserError.node": 7,
        "INetworkDefinition.get_layer": lambda network, index: scene.trt_layers[index],
        "INetworkDefinition.get_input": lambda network, index: scene._tensor("input", "FLOAT"),
        "ILayer.get_input": lambda layer, index: layer.__dict__["inputs"][index],
        "ILayer.get_output": lambda layer, index: layer.__dict__["outputs"][index],
        "IOptimizationProfile.set_shape": set_shape,
        "IBuilderConfig.create_timing_cache": timing_cache,
        "IBuilderConfig.get_timing_cache": lambda config: scene.calls("IBuilderConfig.set_timing_cache")[-1][0],
        "ITimingCache.serialize": timing_bytes,
        "Runtime.deserialize_cuda_engine": deserialize,
        "ICudaEngine.create_execution_context": make_context,
        "ICudaEngine.create_engine_inspector": make_inspector,
        "EngineInspector.get_engine_information": information,
        "ICudaEngine.num_io_tensors": 2,
        "ICudaEngine.get_tensor_name": lambda engine, index: TENSORS[index],
        "ICudaEngine.get_tensor_mode": mode,
        "ICudaEngine.get_tensor_dtype": dtype,
        "ICudaEngine.get_tensor_shape": shape,
        "ICudaEngine.get_tensor_profile_shape": lambda engine, name, index: bounds(engine),
        "IExecutionContext.set_input_shape": set_input_shape,
        "IExecutionContext.get_tensor_shape": context_shape,
        "IExecutionContext.set_tensor_address": set_address,
        "IExecutionContext.execute_async_v3": run,
        "ICudaEngine.num_bindings": 2,
        "ICudaEngine.get_binding_name": lambda engine, index: TENSORS[index],
        "ICudaEngine.binding_is_input": lambda engine, index: TENSORS[index] == "input",
        "ICudaEngine.get_binding_dtype": dtype,
        "ICudaEngine.get_binding_shape": by_index(shape),
        "ICudaEngine.get_profile_shape": lambda engine, index, binding: bounds(engine),
        "IExecutionContext.set_binding_shape": by_index(set_input_shape),
        "IExecutionContext.get_binding_shape": by_index(context_shape),
        "IExecutionContext.execute_async_v2": run_bindings,
    }
