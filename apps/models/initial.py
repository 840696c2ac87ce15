"""Starting weights shared by the convolutional models of the zoo."""

from torch import nn


def he_normal(model: nn.Module) -> None:
    """He's normal weights by fan-in (He et al. 2015), zero biases, identity batch norms.

    By fan-in every layer keeps the variance of what it reads, depthwise ones too, so even
    an untrained network in eval mode carries a signal through to its output.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
