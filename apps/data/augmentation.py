"""Training pictures, shuffled and changed at random: the same for the same seed and epoch.

Axis letters: N pictures, C channels, H rows, W columns.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from apps.data import Pictures
from apps.data.batches import batches
from apps.data.calibration import KEEP_BYTES
from edge_mpq.engines.inputs import Recipe
from edge_mpq.progress import Progress, silent

Batch = tuple[torch.Tensor, torch.Tensor]


class Augmentation(NamedTuple):
    """How much pictures are changed; what is 0 or False is left alone, and draws nothing.

    mirror: left and right change places in every other picture.  shift: up to so many pixels in
    both directions, the border repeated.  contrast: inputs times 1 plus or minus so much, about
    the mean colour of the data.  brightness: plus or minus so many standard deviations.
    """

    mirror: bool = True
    shift: int = 0
    contrast: float = 0.2
    brightness: float = 0.0


USUAL = Augmentation()


def augment(batch: Batch, how: Augmentation, draw: torch.Generator) -> Batch:
    """A batch changed at random: inputs [N, C, H, W]; class maps [N, H, W] move along with them."""
    inputs, labels = batch
    are_maps = labels.dim() > 1
    if how.mirror:
        chosen = torch.rand(len(inputs), generator=draw) < 0.5
        inputs = _mirrored(inputs, chosen)
        labels = _mirrored(labels, chosen) if are_maps else labels
    if how.shift:
        corners = torch.randint(2 * how.shift + 1, (2, len(inputs)), generator=draw)
        inputs = _shifted(inputs, how.shift, corners)
        labels = _shifted(labels[:, None].float(), how.shift, corners)[:, 0].to(labels.dtype) if are_maps else labels
    if how.contrast:
        inputs = inputs * _around(1.0, how.contrast, len(inputs), draw)
    if how.brightness:
        inputs = inputs + _around(0.0, how.brightness, len(inputs), draw)
    return inputs, labels


def _mirrored(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return torch.where(chosen.view(-1, *[1] * (values.dim() - 1)), values.flip(-1), values)


def _shifted(values: torch.Tensor, most: int, corners: torch.Tensor) -> torch.Tensor:
    """Cut [N, C, H, W] out of itself, padded by ``most`` pixels, from ``corners`` [2, N] on."""
    rows, columns = values.shape[2:]
    padded = functional.pad(values, (most,) * 4, mode="replicate")
    cut = [
        picture[:, top : top + rows, left : left + columns]
        for picture, (top, left) in zip(padded, corners.T.tolist(), strict=True)
    ]
    return torch.stack(cut)


def _around(middle: float, most: float, count: int, draw: torch.Generator) -> torch.Tensor:
    return middle - most + 2 * most * torch.rand(count, 1, 1, 1, generator=draw)


Pick = Callable[[torch.Tensor], Batch]


def picking(pictures: Pictures, recipe: Recipe, indices: Sequence[int], progress: Progress = silent) -> Pick:
    """Positions in ``indices`` [n] -> those pictures as inputs [n, 3, H, W] and classes [n].

    As many as fit into ``KEEP_BYTES`` are read once and kept; more are read whenever they are picked.
    """

    def read(chosen: torch.Tensor) -> Batch:
        wanted = [indices[i] for i in chosen.tolist()]
        values, labels = next(batches(pictures, recipe, len(wanted), wanted))
        return torch.from_numpy(values), torch.from_numpy(labels)

    if len(indices) * 3 * recipe.height * recipe.width * 4 > KEEP_BYTES:
        return read
    parts = [read(chosen) for chosen in progress(torch.arange(len(indices)).split(64), "reading pictures")]
    values, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return lambda chosen: (values[chosen], labels[chosen])


class Shuffled:
    """Batches of ``count`` pictures in a new order every epoch: what ``edge_mpq.training.loop.fit`` asks for.

    pick: positions below ``count`` [n] -> their inputs [n, C, H, W] and labels [n, ...].
    """

    def __init__(self, pick: Pick, count: int, size: int = 64, how: Augmentation = USUAL, seed: int = 0) -> None:
        self.pick, self.count, self.size, self.how, self.seed = pick, count, size, how, seed

    def __call__(self, epoch: int) -> "Epoch":
        """The batches of one epoch."""
        return Epoch(self, epoch)


class Epoch:
    """The batches of one epoch, the same whenever they are read.

    A last batch of a single picture joins the one before it: normalization has no variance of one.
    """

    def __init__(self, source: Shuffled, epoch: int) -> None:
        self.source, self.epoch = source, epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.source.count, self.source.size)
        return whole + (rest > 1 or whole == 0)

    def __iter__(self) -> Iterator[Batch]:
        # Of a seed torch looks at 32 bits, so the two cannot lie side by side.
        draw = torch.Generator().manual_seed(1_000_003 * self.source.seed + self.epoch)
        order = torch.randperm(self.source.count, generator=draw)
        chunks = list(order.split(self.source.size))
        chunks[len(self) - 1 :] = [torch.cat(chunks[len(self) - 1 :])]
        for chosen in chunks:
            yield augment(self.source.pick(chosen), self.source.how, draw)
