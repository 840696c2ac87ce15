"""Input batches keep every bit of the recipe, and samples keep every class's share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.data.batches import batches, sample
from edge_mpq.engines.inputs import Recipe, prepare
from edge_mpq.errors import DataError


class Shades:
    """Pictures of given labels, each of its own size or of one size."""

    def __init__(self, labels, side=None):
        self.classes = [str(label) for label in range(max(labels, default=0) + 1)]
        self.labels, self.side = labels, side

    def __len__(self):
        return len(self.labels)

    def frame(self, i):
        side = self.side or 4 + i % 3
        return np.random.default_rng(i).integers(0, 256, (side, side + 1, 3), np.uint8)

    def label(self, i):
        return self.labels[i]


triples = st.tuples(*[st.floats(0.01, 2)] * 3)


@settings(deadline=None, max_examples=60)
@given(triples, triples, st.integers(1, 9), st.integers(0, 12), st.sampled_from([None, 4, 7]))
def test_batches_are_prepared_frames_bit_for_bit(mean, std, size, count, side):
    recipe = Recipe(5, 4, "crop", mean, std)  # frames of side 4 are 4 rows by 5 columns already
    pictures = Shades([i % 3 for i in range(count)], side)
    made = list(batches(pictures, recipe, size))
    assert [len(labels) for _, labels in made] == [min(size, count - start) for start in range(0, count, size)]
    inputs = [one for several, _ in made for one in several]
    assert [int(label) for _, labels in made for label in labels] == pictures.labels
    for i, one in enumerate(inputs):
        wanted = prepare(pictures.frame(i), recipe, "rgb")
        assert one.dtype == np.float32 and one.flags.c_contiguous and one.tobytes() == wanted.tobytes()


def test_batches_follow_the_indices():
    pictures = Shades([0, 1, 2, 3], 4)
    inputs, labels = next(batches(pictures, Recipe(5, 4), 8, [3, 1, 1]))
    assert labels.dtype == np.int64 and labels.tolist() == [3, 1, 1]
    assert np.array_equal(inputs[1], inputs[2]) and not np.array_equal(inputs[0], inputs[1])


def test_a_frame_that_is_no_picture_is_named(monkeypatch):
    monkeypatch.setattr(Shades, "frame", lambda self, i: None)
    with pytest.raises(DataError, match="picture 2: a frame is no picture"):
        next(batches(Shades([0, 1, 2]), Recipe(5, 4), 1, [2]))


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 70), st.integers(0, 5))
def test_a_sample_is_fair_nested_and_repeatable(labels, count, seed):
    pictures = Shades(labels)
    chosen = sample(pictures, count, seed)
    assert len(set(chosen)) == len(chosen) == min(count, len(labels)) and set(chosen) <= set(range(len(labels)))
    assert chosen == sample(pictures, count, seed) == sample(pictures, count + 3, seed)[: len(chosen)]
    whole, part = np.bincount(labels, minlength=5), np.bincount([labels[i] for i in chosen], minlength=5)
    shares = whole * len(chosen) / len(labels)
    assert (np.abs(part - shares) <= 0.5 + np.count_nonzero(whole) / 2).all()


def test_classes_of_one_size_are_sampled_evenly_and_by_seed():
    pictures = Shades([i // 100 for i in range(1000)])
    assert np.bincount([pictures.label(i) for i in sample(pictures, 50, 0)]).tolist() == [5] * 10
    assert set(np.bincount([pictures.label(i) for i in sample(pictures, 512, 0)])) == {51, 52}
    assert sample(pictures, 50, 0) != sample(pictures, 50, 1)
