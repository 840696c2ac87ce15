"""Which operator each TensorRT's ONNX parser reads, from the first version that lists it.

From docs/operators.md and docs/Changelog.md of onnx-tensorrt, branches of 8.4, 8.5 and 10.15.
"""

FROM_THE_START = """Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast
Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div
Dropout Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements Gemm GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual HardSigmoid Identity If ImageScaler InstanceNormalization LRN LSTM LeakyRelu
Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg NonMaxSuppression Not
Or PRelu Pad ParametricSoftplus Pow QuantizeLinear RNN RandomUniform RandomUniformLike Range ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
ReverseSequence ScaledTanh Scan Selu Shape Sigmoid Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split
Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where"""
LATER = {
    (8, 2): "Einsum GatherND IsNaN Round Scatter ScatterElements ScatterND Sign",
    (8, 4): "Shrink Xor",
    (8, 5): "GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot RandomNormal RandomNormalLike "
    "Reciprocal RoiAlign Trilu",
    (8, 6): "GroupNormalization IsInf LayerNormalization",
    (10, 0): "CastLike Gelu Hardmax Mish",
    (10, 1): "DeformConv",
    (10, 4): "BlackmanWindow HammingWindow HannWindow",
    (10, 5): "STFT",
    (10, 15): "Attention RMSNormalization RotaryEmbedding TensorScatter",
}
SINCE: dict[str, tuple[int, int]] = {
    **dict.fromkeys(FROM_THE_START.split(), (8, 0)),
    **{op: version for version, ops in LATER.items() for op in ops.split()},
}
# Quantized operators of ONNX and of ONNX Runtime, in no TensorRT.
INTEGER = frozenset(
    """QLinearConv QLinearMatMul ConvInteger MatMulInteger DynamicQuantizeLinear QLinearAdd QLinearMul QLinearConcat
    QLinearAveragePool QLinearGlobalAveragePool QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QLinearWhere QGemm
    MatMulIntegerToFloat DynamicQuantizeMatMul""".split()
)
# What to write instead of an operator that the parser lacks.
INSTEAD = {
    "LayerNormalization": "write it as ReduceMean, Sub, Pow, Sqrt and Div",
    "GroupNormalization": "write it as Reshape, InstanceNormalization and Reshape",
    "HardSwish": "write it as Mul with HardSigmoid",
    "Gelu": "write it with Erf",
    "Mish": "write it as Mul with Tanh of Softplus",
    "Reciprocal": "write it as Div of 1",
    "Trilu": "store the mask as a constant and use Where",
    "CastLike": "write it as Cast",
}
