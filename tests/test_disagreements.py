"""The pictures that an engine answers least like fp32."""

import base64

import cv2
import numpy as np

from apps import disagreements


class Frames:
    classes = ["cat", "dog", "ship"]

    def __len__(self) -> int:
        return 100

    def frame(self, i: int) -> np.ndarray:
        return np.full((8, 12, 3), (i, 0, 0), np.uint8)

    def label(self, i: int) -> int:
        return i % 3


def worst(fp32, other, indices=None, known=True):
    indices = range(len(fp32)) if indices is None else indices
    return disagreements.worst(
        Frames(), indices, np.array(fp32, np.float32), np.array(other, np.float32), "mixed", known
    )


def picture(entry):
    return cv2.imdecode(np.frombuffer(base64.b64decode(entry[1]), np.uint8), cv2.IMREAD_COLOR)


def test_another_answer_comes_before_one_that_is_only_less_sure():
    fp32 = [[8.0, 0, 0], [0.1, 0, 0], [5.0, 0, 0]]
    other = [[1.0, 0, 0], [0, 0.1, 0], [5.0, 0, 0]]
    found = worst(fp32, other, [10, 40, 70])
    assert [caption for caption, _ in found] == [
        "fp32: cat 36%; mixed: dog 36%; truth: dog",
        "fp32: cat 100%; mixed: cat 58%; truth: dog",
    ]
    assert abs(int(picture(found[0])[0, 0, 2]) - 40) < 4 and picture(found[0]).shape == (160, 240, 3)
    assert worst(fp32, other, [10, 40, 70], known=False)[0][0].endswith("mixed: dog 36%")


def test_equal_answers_make_no_picture_and_many_make_eight():
    draw = np.random.default_rng(0).normal(size=(50, 3))
    assert worst(draw, draw) == []
    assert len(worst(draw, -draw)) == disagreements.COUNT


def test_one_logit_stands_for_two_classes():
    assert worst([[2.0]], [[-2.0]])[0][0] == "fp32: dog 88%; mixed: cat 88%; truth: cat"


def test_maps_are_painted_where_they_differ():
    fp32, other = np.full((2, 1, 4, 6), -1.0), np.full((2, 1, 4, 6), -1.0)
    fp32[1, 0, :, :2], other[1, 0, :, 1:3] = 1, 1
    found = worst(fp32, other)
    assert [caption for caption, _ in found] == ["33.3% of the pixels"]
    drawn = picture(found[0])
    red, green, blue = (drawn[80, column] for column in (20, 60, 100))
    assert red.argmax() == 2 and green.argmax() == 1 and blue.argmax() == 0
