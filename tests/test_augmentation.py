"""Training pictures changed at random: repeatably, within bounds, and class maps along with them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from apps.data import augmentation
from apps.data.augmentation import Augmentation, Shuffled, augment, picking
from apps.data.batches import batches
from edge_mpq.engines.inputs import Recipe

NONE = Augmentation(mirror=False, contrast=0.0)
RECIPE = Recipe(6, 4)


class Drawn:
    """Pictures of noise; the label of each is its place."""

    classes = [str(k) for k in range(11)]

    def __len__(self) -> int:
        return len(self.classes)

    def frame(self, i: int) -> np.ndarray:
        return np.random.default_rng(i).integers(0, 256, (4, 6, 3), np.uint8)

    def label(self, i: int) -> int:
        return i


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _inputs(count: int = 40) -> torch.Tensor:
    return torch.randn(count, 3, 6, 8, generator=_draw(9))


def test_asked_for_nothing_it_does_and_draws_nothing() -> None:
    inputs, labels, draw = _inputs(), torch.arange(40), _draw()
    before = draw.get_state()
    changed, same = augment((inputs, labels), NONE, draw)
    assert torch.equal(changed, inputs) and torch.equal(same, labels) and torch.equal(draw.get_state(), before)


def test_about_half_are_mirrored_and_the_others_left() -> None:
    inputs, labels = _inputs(), torch.arange(40)
    changed, same = augment((inputs, labels), NONE._replace(mirror=True), _draw())
    mirrored = [torch.equal(new, old.flip(2)) for new, old in zip(changed, inputs, strict=True)]
    left = [torch.equal(new, old) for new, old in zip(changed, inputs, strict=True)]
    assert all(a != b for a, b in zip(mirrored, left, strict=True)) and 10 < sum(mirrored) < 30
    assert torch.equal(same, labels)


def test_a_shift_moves_every_pixel_by_as_much_and_repeats_the_border() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    inputs = torch.stack([rows, columns, rows + 10 * columns]).expand(60, 3, 6, 8)
    changed, _ = augment((inputs, torch.zeros(60)), NONE._replace(shift=2), _draw())
    moves = set()
    for picture in changed:
        down, right = int(picture[0, 3, 0]) - 3, int(picture[1, 0, 4]) - 4
        moves.add((down, right))
        assert torch.equal(picture[0], (rows + down).clamp(0, 5)) and torch.equal(
            picture[1], (columns + right).clamp(0, 7)
        )
    assert {down for down, _ in moves} == {right for _, right in moves} == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.bool])
def test_class_maps_move_along(kind: torch.dtype) -> None:
    inputs = _inputs()
    maps = (inputs[:, 0] > 0).to(kind)
    how = NONE._replace(mirror=True, shift=2)
    changed, moved = augment((inputs, maps), how, _draw())
    assert moved.dtype == kind and torch.equal(moved, (changed[:, 0] > 0).to(kind)) and not torch.equal(moved, maps)


def test_contrast_and_brightness_keep_their_bounds() -> None:
    inputs, labels = torch.ones(200, 3, 2, 2), torch.zeros(200)
    gained, _ = augment((inputs, labels), NONE._replace(contrast=0.2), _draw())
    lifted, _ = augment((inputs * 0, labels), NONE._replace(brightness=0.5), _draw())
    for values, low, high in ((gained, 0.8, 1.2), (lifted, -0.5, 0.5)):
        each = values[:, 0, 0, 0]
        assert torch.equal(values, each.view(-1, 1, 1, 1).expand_as(values))
        assert low <= each.min() < low + 0.1 and high - 0.1 < each.max() <= high


@pytest.mark.parametrize(("size", "lengths"), [(4, [4, 4, 3]), (5, [5, 6]), (11, [11]), (64, [11]), (10, [11])])
def test_an_epoch_is_every_picture_once_and_no_batch_is_one_picture(size: int, lengths: list[int]) -> None:
    pictures = Shuffled(picking(Drawn(), RECIPE, range(11)), 11, size, NONE)
    first, second = list(pictures(0)), list(pictures(1))
    assert [len(labels) for _, labels in first] == lengths and len(pictures(0)) == len(lengths)
    orders = [torch.cat([labels for _, labels in epoch]).tolist() for epoch in (first, second)]
    assert sorted(orders[0]) == list(range(11)) and orders[0] != orders[1]
    for inputs, labels in first:
        assert torch.equal(inputs, torch.from_numpy(next(batches(Drawn(), RECIPE, 16, labels.tolist()))[0]))


def test_the_same_seed_and_epoch_give_the_same_and_others_do_not() -> None:
    def joined(seed: int, epoch: int) -> torch.Tensor:
        made = Shuffled(picking(Drawn(), RECIPE, range(11)), 11, 4, Augmentation(shift=1), seed)(epoch)
        once, again = (torch.cat([inputs for inputs, _ in made]) for _ in range(2))
        assert torch.equal(once, again)
        return once

    assert torch.equal(joined(0, 3), joined(0, 3))
    assert not torch.equal(joined(0, 3), joined(0, 4)) and not torch.equal(joined(0, 3), joined(1, 3))


def test_pictures_are_kept_where_they_fit_and_read_anew_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def progress(items: list, what: str, total: int | None = None) -> Iterator:
        told.append(what)
        return iter(items)

    indices, chosen = [9, 3, 7, 1], torch.tensor([2, 0])
    kept = picking(Drawn(), RECIPE, indices, progress)(chosen)
    monkeypatch.setattr(augmentation, "KEEP_BYTES", 4 * 3 * 4 * 6 * 4 - 1)
    read = picking(Drawn(), RECIPE, indices, progress)(chosen)
    assert told == ["reading pictures"]
    assert torch.equal(kept[0], read[0]) and kept[1].tolist() == read[1].tolist() == [7, 9]
