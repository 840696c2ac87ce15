"""Power and temperature out of sysfs trees of five machines, and what a Sampler makes of them."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.stream import power
from apps.stream.power import Power, Rail, Sampler
from tests.boards import BOARDS, iio, ina3221, zone
from tests.stream.scripted import Clock

READ = {
    "nano": ({"POM_5V_CPU": 0.465, "POM_5V_GPU": 0.084, "POM_5V_IN": 2.043}, 2.043),
    "xavier-nx": ({"VDD_CPU_GPU_CV": 0.75392, "VDD_IN": 5.27744, "VDD_SOC": 1.30944}, 5.27744),
    # No input rail: the sum, without the rail that VIN_SYS_5V0 feeds.
    "agx-orin": (
        {"VDDQ_VDD2_1V8AO": 0.39744, "VDD_CPU_CV": 0.37568, "VDD_GPU_SOC": 2.63088, "VIN_SYS_5V0": 4.86864},
        2.63088 + 0.37568 + 4.86864,
    ),
    "thor": ({"VDD_CPU_SOC_MSS": 11.5584, "VDD_GPU": 7.7056, "VIN": 31.8, "VIN_SYS_5V0": 8.85312}, 31.8),
    "computer": ({}, 0.0),
}


def _write(root: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return str(root)


@pytest.mark.parametrize("name", BOARDS)
def test_the_rails_of_each_board(tmp_path: Path, name: str) -> None:
    found = power.rails(str(BOARDS[name].write(tmp_path)))
    rails, total = READ[name]
    assert {rail.name: rail.read() for rail in found} == pytest.approx(rails)
    assert [rail.name for rail in found] == sorted(rails)
    assert sum(rail.read() or 0.0 for rail in power.of_board(found)) == pytest.approx(total)


@pytest.mark.parametrize(
    ("name", "zones"),
    [
        # A zone that is switched off, and the Nano's PMIC, which always says 100, are no temperature.
        ("nano", {"AO-therm": 36.5, "CPU-therm": 29.0, "GPU-therm": 27.5}),
        ("agx-orin", {"cpu-thermal": 51.187, "tj-thermal": 53.5}),
        ("computer", {}),
    ],
)
def test_the_zones_of_each_board(tmp_path: Path, name: str, zones: dict[str, float]) -> None:
    assert power.zones(str(BOARDS[name].write(tmp_path))) == pytest.approx(zones)


def test_the_sum_of_shunts_is_no_rail_even_with_a_current(tmp_path: Path) -> None:
    files = ina3221(3, [("VDD_GPU_SOC", 19000, 100)])
    files["sys/class/hwmon/hwmon3/curr7_input"] = "5\n"
    assert [rail.name for rail in power.rails(_write(tmp_path, files))] == ["VDD_GPU_SOC"]


@pytest.mark.parametrize("text", ["", "n/a\n", "12 mA\n"])
def test_a_sensor_that_does_not_answer_is_not_zero(tmp_path: Path, text: str) -> None:
    root = _write(tmp_path, iio({"POM_5V_IN": 2000}))
    rail = power.rails(root)[0]
    next(tmp_path.rglob("in_power0_input")).write_text(text)
    assert rail.read() is None
    next(tmp_path.rglob("in_power0_input")).unlink()
    assert rail.read() is None
    sampler = Sampler(root)
    sampler.sample()
    assert sampler.power().mean_w is None and sampler.power().frame_j(10) is None


class Meter:
    """A sampler whose board follows a script: (seconds, mW, millidegrees) at each sample."""

    def __init__(self, root: Path, script: list[tuple[float, int, int]]) -> None:
        self.root, self.script, self.clock = root, script, Clock()
        _write(root, {**iio({"POM_5V_IN": 0}), **zone(0, "CPU-therm", 0)})
        self.sampler = Sampler(str(root), clock=self.clock)

    def play(self) -> Power:
        for seconds, milliwatts, millidegrees in self.script:
            self.clock.now = seconds
            next(self.root.rglob("in_power0_input")).write_text(f"{milliwatts}\n")
            next(self.root.rglob("thermal_zone0/temp")).write_text(f"{millidegrees}\n")
            self.sampler.sample()
        return self.sampler.power()


def test_mean_energy_and_hottest(tmp_path: Path) -> None:
    # Samples come late and unevenly: 1 s at 2 to 4 W, 3 s at 4 W.
    seen = Meter(tmp_path, [(10.0, 2000, 40000), (11.0, 4000, 55000), (14.0, 4000, 50000)]).play()
    assert (seen.seconds, seen.max_c) == (4.0, 55.0) and seen.mean_w == pytest.approx(15 / 4)
    assert seen.energy_j == pytest.approx(15.0)
    assert seen.frame_j(30) == pytest.approx(0.5)
    assert seen.frame_j(0) is None


def test_of_a_run_of_months_no_list_is_kept(tmp_path: Path) -> None:
    sampler = Sampler(_write(tmp_path, iio({"POM_5V_IN": 2000})), clock=Clock(1.0))
    for _ in range(100):
        sampler.sample()
    assert not any(isinstance(kept, list) and len(kept) > 50 for kept in vars(sampler).values())
    assert sampler.power().mean_w == pytest.approx(2.0)


@given(
    watts=st.lists(st.floats(0, 100), min_size=2, max_size=20),
    steps=st.lists(st.floats(0.01, 10), min_size=20, max_size=20),
)
def test_the_mean_lies_between_the_samples(watts: list[float], steps: list[float]) -> None:
    now = [sum(steps[:at]) for at in range(len(watts))]
    clock, values = iter(now), iter(watts)
    sampler = Sampler("/no/such/root", clock=lambda: next(clock))
    sampler._rails = [Rail("VIN", lambda: next(values))]
    for _ in watts:
        sampler.sample()
    seen = sampler.power()
    assert min(watts) - 1e-9 <= (seen.mean_w or 0.0) <= max(watts) + 1e-9
    assert seen.seconds == pytest.approx(now[-1])


def test_a_board_without_sensors_has_a_time_and_no_power(tmp_path: Path) -> None:
    clock = Clock(0.5)
    sampler = Sampler(str(tmp_path), clock=clock, pause=lambda seconds: pytest.fail("a thread without a rail"))
    assert not sampler.reads_power
    sampler.start()
    assert sampler.stop() == Power(0.5, None, None)
    assert Sampler(str(tmp_path)).power() == Power(0.0)


def test_the_thread_samples_until_it_is_stopped(tmp_path: Path) -> None:
    root = _write(tmp_path, {**iio({"POM_5V_IN": 3000}), **zone(0, "CPU-therm", 41000)})
    asked, three = [], threading.Event()

    def pause(seconds: float) -> bool:
        asked.append(seconds)
        if len(asked) == 4:
            three.set()
        return len(asked) > 3

    sampler = Sampler(root, 0.25, Clock(1.0), pause)
    for _ in range(2):  # it may be used again
        asked.clear()
        three.clear()
        sampler.start()
        assert three.wait(10)
        seen = sampler.stop()
        # One at the start, three of the thread, one at the end: four seconds apart.
        assert (seen.seconds, seen.max_c) == (4.0, 41.0) and seen.mean_w == pytest.approx(3.0)
        assert asked == [0.25] * 4
