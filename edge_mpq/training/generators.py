"""The states of every global random generator, as tensors of fixed shapes.

Python's, numpy's, torch's on the CPU and, for a GPU, torch's on it: what dropout, random
augmentation or a user's own code may draw from.
"""

import math
import random

import numpy as np
import torch

States = dict[str, torch.Tensor]


def states(device: torch.device) -> States:
    """Where every generator stands."""
    _, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    found = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor([math.nan if gauss is None else gauss], dtype=torch.float64),
        "numpy": torch.tensor([*np.asarray(keys).tolist(), position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore(saved: States, device: torch.device) -> None:
    """Set every generator to where it stood."""
    gauss = saved["python_gauss"].item()
    random.setstate((3, tuple(saved["python"].tolist()), None if math.isnan(gauss) else gauss))
    *keys, position, has_gauss = saved["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, saved["numpy_gauss"].item()))
    # torch reads a state from where its storage begins: a row of a larger tensor must be copied.
    torch.set_rng_state(saved["torch"].clone())
    if device.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda"].clone(), device)
