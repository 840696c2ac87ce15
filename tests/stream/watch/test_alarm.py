"""The alarm: raised by k of n, lowered by at most j of n, and never faster than k - j frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.stream.decode import Answer
from apps.stream.watch.alarm import LOWERED, RAISED, USUAL, Alarm, Condition, When, check, parse_condition, parse_when
from edge_mpq.errors import UsageError

FIRE = Answer("Fire", 0.9, np.array([0.1, 0.9]))


@st.composite
def whens(draw):
    frames = draw(st.integers(1, 12))
    raised_at = draw(st.integers(1, frames))
    return When(raised_at, frames, draw(st.integers(0, raised_at - 1)))


def _changes(when, hits):
    alarm = Alarm(when)
    told = [alarm.see(hit) for hit in hits]
    return [(number, word) for number, word in enumerate(told) if word], alarm


@given(whens(), st.lists(st.booleans(), max_size=120))
def test_it_is_what_the_last_frames_say(when, hits):
    up = False
    alarm = Alarm(when)
    for number, hit in enumerate(hits):
        count = sum(hits[max(0, number + 1 - when.frames) : number + 1])
        before, told = up, alarm.see(hit)
        up = count >= when.raised_at or (up and count > when.lowered_at)
        assert alarm.up == up
        assert told == (None if up == before else RAISED if up else LOWERED)


@given(whens(), st.lists(st.booleans(), max_size=200))
def test_raised_and_lowered_take_turns_at_least_k_minus_j_frames_apart(when, hits):
    changes, _ = _changes(when, hits)
    assert [word for _, word in changes] == ([RAISED, LOWERED] * len(changes))[: len(changes)]
    assert all(b - a >= when.raised_at - when.lowered_at for (a, _), (b, _) in zip(changes, changes[1:], strict=False))
    assert not changes or changes[0][0] >= when.raised_at - 1


@given(whens(), st.lists(st.booleans(), max_size=60))
def test_it_follows_in_the_end(when, hits):
    assert _changes(when, hits + [True] * when.frames)[1].up
    assert not _changes(when, hits + [False] * when.frames)[1].up


def test_a_flickering_answer_raises_it_once_and_without_hysteresis_makes_it_flap():
    # Three frames of four hit, one does not: the count of the last five goes 3, 4, 4, 4, 3 ...
    flicker = ([True] * 3 + [False]) * 50
    assert _changes(When(4, 5, 1), flicker)[0] == [(4, RAISED)]
    assert len(_changes(When(4, 5, 3), flicker)[0]) > 50


def test_one_wrong_frame_neither_raises_nor_lowers():
    lone = [False] * 20 + [True] + [False] * 20
    assert _changes(USUAL, lone)[0] == []
    assert _changes(USUAL, [not hit for hit in lone])[0] == [(USUAL.raised_at - 1, RAISED)]


def test_what_a_hit_is():
    assert Condition("Fire").hit(FIRE, {}) and not Condition("No_Fire").hit(FIRE, {})
    above = Condition("fire_share", 0.1)
    assert above.hit(FIRE, {"fire_share": 0.2}) and above.hit(FIRE, {"fire_share": 1})
    assert not any(above.hit(FIRE, facts) for facts in ({}, {"fire_share": 0.1}, {"fire_share": "much"}))
    assert not above.hit(FIRE, {"fire_share": float("nan")})


def test_conditions_and_numbers_on_the_command_line():
    assert parse_condition("Fire") == Condition("Fire")
    assert parse_condition("fire_share > 0.02") == Condition("fire_share", 0.02)
    assert parse_when("5/8/1") == When(5, 8, 1) and parse_when("6/10") == When(6, 10, 2)
    assert parse_when("1/1") == When(1, 1, 0)


@pytest.mark.parametrize("text", ["", " ", ">", "x>", ">3", "x>y", "x>nan", "x>inf", "x>1>2"])
def test_no_condition(text):
    with pytest.raises(UsageError, match="--alarm is .*FACT>NUMBER"):
        parse_condition(text)


@pytest.mark.parametrize("text", ["", "5", "9/8", "0/8", "5/8/5", "5/8/-1", "a/b", "5/8/1/0", "5/99999999", "1/200000"])
def test_no_such_numbers(text):
    with pytest.raises(UsageError, match="--alarm-when is .*0 <= J < K <= N"):
        parse_when(text)


def test_what_can_never_be_met_is_refused():
    check(Condition("Fire"), ["Fire", "No_Fire"], ())
    check(Condition("anything"), [], ())
    check(Condition("fire_share", 0.1), [], ("fire_share",))
    with pytest.raises(UsageError, match="class 'Smoke'; the bundle has Fire, No_Fire"):
        check(Condition("Smoke"), ["Fire", "No_Fire"], ("Smoke",))
    with pytest.raises(UsageError, match="fact 'fire_shar'; this view tells fire_share"):
        check(Condition("fire_shar", 0.1), ["fire_shar"], ("fire_share",))
