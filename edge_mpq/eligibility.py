"""Which convolutions an integer kernel of a GPU serves well.

Tensor cores eat channels by 16 or 32: a layer with fewer spends its time on padding and
format changes and is better left in fp16.  The rule is that of NVIDIA's Model Optimizer
for TensorRT (docs/targets.md).
"""

from collections.abc import Sequence

FULL = 16


def worth_int8(inputs: int, outputs: int, groups: int, kernel: Sequence[int], first: bool = False) -> bool:
    """Whether a convolution of ``inputs`` to ``outputs`` channels gains from int8 on a GPU.

    groups: of a grouped convolution, 1 otherwise.  kernel: its extents.  first: it reads
    the model's input, whose few channels cannot be helped.
    """
    if groups > 1:
        return outputs % 8 == 0 and all(extent >= 3 for extent in kernel)
    if inputs >= FULL and outputs >= FULL:
        return True
    even = outputs % 8 == 0 or inputs % 8 == 0
    return even and (first or max(inputs, outputs) >= FULL) and len(set(kernel)) == 1
