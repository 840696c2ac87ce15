"""Laws that every view keeps, present and future."""

import json
import math
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.stream import views
from apps.stream.cameras.capture import Frame
from apps.stream.decode import TASKS, Answer
from apps.stream.overlay import draw
from apps.stream.views.base import Scene, View
from apps.stream.watch.alarm import Condition
from apps.stream.watch.flight import Fix
from apps.stream.watch.ground import Ground
from edge_mpq.errors import UsageError

every_view = pytest.mark.parametrize("name", views.names())
CLASSES = ["nothing", "fire", "smoke"]


@st.composite
def cases(draw, task):
    """(Frame, Answer, Scene): any size, any answer, on the ground or not."""
    rows, columns = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frame = Frame(draw(st.integers(0, 1000)), 0.5, rng.integers(0, 256, (rows, columns, 3), np.uint8))
    classes = draw(st.sampled_from([CLASSES, []]))
    fix = Fix(0.0, draw(st.floats(-89, 89)), draw(st.floats(-180, 180)), draw(st.floats(-100, 20000)),
              draw(st.floats(-180, 360)), draw(st.floats(-90, 90)))  # fmt: skip
    ground = draw(st.sampled_from([None, Ground(fix, draw(st.floats(1, 170)), rows, columns)]))
    mask = box = None
    if task == "segment":
        coarse = (rng.random((8, 8)) * rng.integers(1, 4)).astype(np.uint8)
        mask = coarse[np.arange(rows)[:, None] * 8 // rows, np.arange(columns) * 8 // columns]
    elif draw(st.booleans()):
        left, top = draw(st.integers(0, columns - 1)), draw(st.integers(0, rows - 1))
        box = (left, top, draw(st.integers(1, columns - left)), draw(st.integers(1, rows - top)))
    watched = draw(st.integers(0, 2))
    scores = rng.dirichlet([1, 1, 1])
    best = int(scores.argmax())
    label = classes[best] if classes else f"class {best}"
    answer = Answer(label, float(scores[best]), scores, mask, box)
    return frame, answer, Scene(classes, watched, lambda frame: ground)


def test_the_door_lists_the_views():
    assert {"plain", "wildfire_classify", "wildfire_segment"} <= set(views.names())
    with pytest.raises(UsageError, match="choose one of .*wildfire_segment"):
        views.get("crystal_ball")
    with pytest.raises(UsageError, match="json.tool is no view: it has no look, TASKS, FACTS, MASK"):
        views.get("json.tool")


@every_view
def test_it_says_what_it_is_for(name):
    view = views.get(name)
    assert view.TASKS and set(view.TASKS) <= set(TASKS)
    assert all(isinstance(fact, str) and fact.isidentifier() for fact in view.FACTS)
    assert len(set(view.FACTS)) == len(view.FACTS) and isinstance(view.MASK, bool)
    assert "segment" in view.TASKS or not view.MASK


@every_view
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_facts_are_those_named_and_boxes_lie_in_the_frame(name, data):
    module = views.get(name)
    task = data.draw(st.sampled_from(module.TASKS))
    frame, answer, scene = data.draw(cases(task))
    before = frame.pixels.copy(), None if answer.mask is None else answer.mask.copy()
    seen = module.look(frame, answer, scene)
    assert isinstance(seen, View) and list(seen.facts) == [fact for fact in module.FACTS if fact in seen.facts]
    for value in seen.facts.values():
        assert isinstance(value, str) or (type(value) in (int, float) and math.isfinite(value))
    json.dumps(seen.facts, allow_nan=False)
    rows, columns = frame.pixels.shape[:2]
    for left, top, wide, high, text in seen.boxes:
        assert all(type(side) is int for side in (left, top, wide, high)) and isinstance(text, str)
        assert 0 <= left < left + wide <= columns and 0 <= top < top + high <= rows
    # It is pure: nothing it was given changed, and asked again it says the same.
    np.testing.assert_array_equal(frame.pixels, before[0])
    if answer.mask is not None:
        np.testing.assert_array_equal(answer.mask, before[1])
    assert module.look(frame, answer, scene) == seen
    assert draw(frame.pixels, answer, "", seen).dtype == np.uint8


@every_view
def test_a_bundle_of_another_task_is_refused_and_its_own_is_bound(name):
    module = views.get(name)
    for task in TASKS:
        if task in module.TASKS:
            assert views.bound(name, task, Scene()).FACTS == tuple(module.FACTS)
        else:
            with pytest.raises(UsageError, match=f"view {name} is not for a bundle that is to {task}; choose .*plain"):
                views.bound(name, task, Scene())


def test_what_a_view_tells_is_made_plain_where_it_is_bound(monkeypatch):
    facts = {"share": np.float32(0.5), "spots": np.int64(2), "mean": np.array([1.5]), "none": float("nan"), "at": "x"}
    module = types.ModuleType("mylab_view")
    module.__dict__.update(
        look=lambda *_: View(facts, [(*np.arange(4), "hot")]), TASKS=TASKS, FACTS=tuple(facts), MASK=False
    )
    monkeypatch.setitem(sys.modules, "mylab", types.ModuleType("mylab"))
    monkeypatch.setitem(sys.modules, "mylab.view", module)
    seen = views.bound("mylab.view", TASKS[0], Scene()).look(None, None)
    assert seen == View({"share": 0.5, "spots": 2, "mean": 1.5, "none": "nan", "at": "x"}, [(0, 1, 2, 3, "hot")])
    assert json.loads(json.dumps(seen.facts, allow_nan=False)) == seen.facts and json.dumps(seen.boxes)
    # So an alarm can wait for each of the numbers.
    assert Condition("share", 0.1).hit(None, seen.facts) and not Condition("none", 0.1).hit(None, seen.facts)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_usual_view(task):
    assert views.bound(None, task, Scene()).FACTS == views.get("wildfire_" + task).FACTS
