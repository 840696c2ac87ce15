"""ONNX -> the layers that TensorRT's parser makes of it, as far as precision asks.

On the board the parsed network is asked itself.  A trtexec script is written where no TensorRT
is, and must ask for the same: edge_mpq/engines/_tensorrt_precision.py decides for both.
"""

import onnx
from onnx import TensorProto

from edge_mpq.engines._tensorrt_precision import Layer, Output

# TensorRT's LayerType of each operator that the decision tells apart.  Others go by their own name.
KINDS = {
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    **dict.fromkeys(("MatMul", "Gemm"), "MATRIX_MULTIPLY"),
    "BatchNormalization": "SCALE",
    "PRelu": "PARAMETRIC_RELU",
    **dict.fromkeys(
        "Relu LeakyRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Clip Softplus Softsign Gelu Mish "
        "ThresholdedRelu".split(),
        "ACTIVATION",
    ),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean"), "ELEMENTWISE"),
    **dict.fromkeys(
        ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth"), "SHUFFLE"
    ),
    **dict.fromkeys(("Identity", "Dropout"), "IDENTITY"),
    **dict.fromkeys(("ConstantOfShape", "Range"), "FILL"),
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
}
# TensorRT's DataType of what does not compute in float.
TYPES = {
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
}


def layers(model: onnx.ModelProto) -> list[Layer]:
    """A Layer for every node, in order; weights are no layers here, since they have no precision of their own.

    Where the parser makes several layers of one node, the first stands for all: the others have
    names that only the parser knows.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {info.name: info.type.tensor_type.elem_type for info in (*inferred.value_info, *inferred.output)}
    outputs = {output.name for output in model.graph.output}

    def written(name: str) -> Output:
        return Output(name, TYPES.get(types.get(name, TensorProto.FLOAT), "FLOAT"), name in outputs)

    return [
        Layer(
            node.name,
            KINDS.get(node.op_type, node.op_type.upper()),
            tuple(name for name in node.input if name),
            tuple(written(name) for name in node.output if name),
        )
        for node in model.graph.node
    ]
