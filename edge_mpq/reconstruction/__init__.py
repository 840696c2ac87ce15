"""Reconstruction: weights rounded up or down by gradient, so that a part of the network answers as in float.

Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization (AdaRound), ICML 2020,
arXiv 2004.10568, layer by layer; Li et al., BRECQ, ICLR 2021, arXiv 2102.05426, block by block and
weighed by Fisher information; Wei et al., QDrop, ICLR 2022, arXiv 2203.05740, inputs of which a
part is left in float.  The choices that differ between them are the axes of Yvinec et al.,
Gradient-Based Post-Training Quantization: Challenging the Status Quo, arXiv 2308.07662, of which
only the abstract could be read: the axes are its own, what each value does is a reconstruction.
"""

from typing import NamedTuple

from edge_mpq.errors import UsageError


class Options(NamedTuple):
    """The axes.

    unit: what is learned together, ``layer`` or ``block`` (up to where a single tensor goes on).
    loss: ``mse`` of the unit's output, ``fisher`` the same weighed by squared gradients of the model's
    log-likelihood, ``kl`` of the model's answers with the rest in float.  dof: ``rounding``, and
    with it ``scale`` (of weights, a channel) and ``bias``.  grid: of the weights, ``uniform``, or ``power``
    (edge_mpq.quantizers.power), which can be simulated and not deployed.  variable: how a weight's place between its
    two grid points is held: rectified ``sigmoid``, rectified ``softplus``, or ``ste``, rounded in each
    forward pass with straight-through gradients.  optimizer: ``adam``, ``adamw``, ``adamax``, ``sgd``.
    augment: of the unit's inputs, ``none``, ``mixup`` of two minibatches, ``gauss`` noise.
    drop: share of the input's values that are taken from the float model (QDrop).
    iterations: steps a unit.  seed: of order, drops and noise.
    """

    unit: str = "layer"
    loss: str = "mse"
    dof: tuple[str, ...] = ("rounding",)
    grid: str = "uniform"
    variable: str = "sigmoid"
    optimizer: str = "adam"
    augment: str = "none"
    drop: float = 0.5
    iterations: int = 300
    seed: int = 0


AXES = {
    "unit": ("layer", "block"),
    "loss": ("mse", "fisher", "kl"),
    "dof": ("rounding", "scale", "bias"),
    "grid": ("uniform", "power"),
    "variable": ("sigmoid", "softplus", "ste"),
    "optimizer": ("adam", "adamw", "adamax", "sgd"),
    "augment": ("none", "mixup", "gauss"),
}


def checked(options: Options) -> Options:
    """``options``, or UsageError naming every value there is not."""
    faults = []
    for axis, known in AXES.items():
        value = getattr(options, axis)
        for name in value if isinstance(value, tuple) else (value,):
            if name not in known:
                faults.append(f"{axis} {name!r} is none of {', '.join(known)}")
    if "rounding" not in options.dof:
        faults.append("dof leaves out rounding, which is what is learned")
    if not 0 <= options.drop <= 1:
        faults.append(f"drop {options.drop} is no share")
    if options.iterations < 1:
        faults.append(f"{options.iterations} iterations learn nothing")
    if faults:
        raise UsageError("; ".join(faults), "see edge_mpq.reconstruction.Options")
    return options
