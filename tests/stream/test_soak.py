"""The soak of benchmarks/soak.py in a few seconds, and that it would see what it is for."""

import numpy as np
import pytest

from benchmarks import soak
from tests.stream.page_of import write_engines

SCHEDULE = soak.Schedule(minute_s=4.0, fps=50.0)


def test_the_schedule():
    states = [SCHEDULE.state(SCHEDULE.real(second)) for second in (10, 22, 24.5, 37, 52, 58, 60 + 52)]
    assert states == ["whole", "large", "spoilt", "gone", "nothing but spoilt", "whole", "hangs"]
    assert SCHEDULE.losses(4.0) == 2 and SCHEDULE.losses(8.0) == 4 and SCHEDULE.losses(2.0) == 0
    assert not SCHEDULE.settled(SCHEDULE.real(40)) and SCHEDULE.settled(SCHEDULE.real(45))


@pytest.mark.slow
def test_a_camera_that_fails_in_every_way_for_two_short_minutes(tmp_path):
    folder = write_engines(tmp_path / "bundle")
    # A loss of this schedule lasts a quarter of a second: where other programs keep this one from running for as
    # long, it may be missed, and is looked at once more.
    for _ in range(3):
        told = soak.soak(folder, 8.0, SCHEDULE, "replay")
        # So short a time tells nothing of memory.
        found = soak.faults(told, float("inf"))
        if not found:
            break
    assert found == []
    assert told["losses"] >= 3 and told["stream"]["torn"] > 20 and told["stream"]["frames"] > 20


def test_the_picture(tmp_path):
    samples = [(float(second), 200.0, 25 * second, "model") for second in range(90)]
    soak.draw({"samples": samples, "minute_s": 60.0}, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 5000


def _told(**other):
    stream = {"ended": "the time asked for"}
    good = dict(losses=4, losses_by_schedule=4, told_lost=4, told_back=4, silent=[], engine_faults={})
    return {"stream": stream, "growth_mib_an_hour": 0.0, **good, **other}


@pytest.mark.parametrize(
    "other",
    [
        {"losses": 2},
        {"told_lost": 3},
        {"told_back": 2},
        {"silent": [12.0]},
        {"engine_faults": {"int8": "no"}},
        {"growth_mib_an_hour": 13.0},
        {"stream": {"ended": "the engine failed"}},
    ],
)
def test_what_does_not_hold_is_told(other):
    assert soak.faults(_told()) == []
    assert soak.faults(_told(**other))


def test_growth_is_seen_through_noise_and_a_warm_up_is_none():
    times, random = np.arange(0, 1800, 1.0), np.random.default_rng(0)
    flat = 200 + random.normal(0, 2, len(times)) - 50 * np.exp(-times / 60)
    rows = [(at, one, 0, "") for at, one in zip(times, flat, strict=True)]
    leaking = [(at, one + 20 * at / 3600, frames, role) for at, one, frames, role in rows]
    assert abs(soak.growth(rows)) < 2 and soak.growth(leaking) == pytest.approx(20, abs=2)


def test_five_seconds_without_frames_are_seen():
    hour = soak.Schedule()
    rows = [(float(second), 0.0, 25 * min(second, 12), "") for second in range(38)]
    assert soak.silent(rows, hour) == list(range(17, 35)), "but not while the camera is gone"
    assert soak.silent([(at, mib, int(25 * at), role) for at, mib, _, role in rows], hour) == []
