"""Power and temperature of a Jetson, from sysfs; on anything else there is nothing to read.

JetPack 4 shows the INA3221 monitors as iio devices (``in_power0_input``, mW, beside
``rail_name_0``), JetPack 5 and later as hwmon (``in1_input`` mV, ``curr1_input`` mA,
``in1_label``).  There an INA238 (``power1_input``, uW) measures the whole input of the
boards that carry one, AGX Thor among them.
"""

import functools
import glob
import os
import threading
import time
from typing import Callable, NamedTuple, Optional, Tuple

from apps.stream.jetson import text_of

# Rails that measure the input of the whole board or module: the others are parts of them.
INPUTS = ("VIN", "VDD_IN", "POM_5V_IN")
# Without such a rail, all others together are the module, but for one that VIN_SYS_5V0 feeds and counts.
INSIDE = ("VDDQ_VDD2_1V8AO",)


class Rail(NamedTuple):
    """A supply rail.  read: its power now in W, None where the sensor does not answer."""

    name: str
    read: Callable[[], Optional[float]]


class Power(NamedTuple):
    """What a Sampler saw.

    mean_w: over ``seconds``.  energy_j: mean_w times seconds.  max_c: the hottest zone.
    None: not readable here.
    """

    seconds: float
    mean_w: Optional[float] = None
    max_c: Optional[float] = None

    @property
    def energy_j(self):
        """Energy in J, or None."""
        return None if self.mean_w is None else self.mean_w * self.seconds

    def frame_j(self, frames):
        """Energy of one of ``frames`` in J, or None."""
        return None if self.mean_w is None or not frames else self.energy_j / frames


def rails(root="/"):
    """Every rail that can be read under ``root``, by name."""
    found = []
    for path in _glob(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"):
        power = os.path.join(os.path.dirname(path), "in_power{}_input".format(path.rsplit("_", 1)[1]))
        found.append(Rail(_word(path), functools.partial(_scaled, power, 1e-3)))
    for chip in _glob(root, "sys/class/hwmon/hwmon*"):
        if _word(os.path.join(chip, "name")) == "ina238":
            found.append(Rail("VIN", functools.partial(_scaled, os.path.join(chip, "power1_input"), 1e-6)))
        elif _word(os.path.join(chip, "name")) == "ina3221":
            found += _channels(chip)
    # NC: a channel that is not connected.
    return sorted((rail for rail in found if rail.name not in ("", "NC")), key=lambda rail: rail.name)


def _channels(chip):
    for label in sorted(glob.glob(os.path.join(chip, "in*_label"))):
        number = os.path.basename(label)[2 : -len("_label")]
        volts, amperes = (os.path.join(chip, kind + number + "_input") for kind in ("in", "curr"))
        # Channel 7 is the sum of the shunt voltages: it has no current, and is no rail.
        if os.path.exists(amperes) and "shunt" not in _word(label):
            yield Rail(_word(label), functools.partial(_product, volts, amperes))


def of_board(found):
    """The rails of ``found`` whose powers add up to the board's, or the module's where only that is measured."""
    for name in INPUTS:
        whole = [rail for rail in found if rail.name == name]
        if whole:
            return whole[:1]
    return [rail for rail in found if rail.name not in INSIDE]


def zones(root="/"):
    """name -> degrees C of every thermal zone that answers."""
    found = {}
    for zone in _glob(root, "sys/class/thermal/thermal_zone*"):
        celsius, name = _scaled(os.path.join(zone, "temp"), 1e-3), _word(os.path.join(zone, "type"))
        # PMIC-Die tells a constant 100; a zone whose part is switched off, -256.
        if celsius is not None and -50 < celsius < 150 and name != "PMIC-Die":
            found[name] = celsius
    return found


def now(found, root="/"):
    """(W of the rails ``found`` together, degrees C of the hottest zone) at this moment; None: not readable."""
    watts = [rail.read() for rail in found]
    return None if not watts or None in watts else sum(watts), max(zones(root).values(), default=None)


class _Seen(NamedTuple):
    """What samples add up to: no list of them, for a run may last for months.

    first_s, last_s: of the samples.  read: the last reading of power, (s, W).  span_s, area_j: of all
    readings; between two of them power runs straight.  max_c: the hottest zone.
    """

    first_s: Optional[float] = None
    last_s: float = 0.0
    read: Optional[Tuple[float, float]] = None
    span_s: float = 0.0
    area_j: float = 0.0
    max_c: Optional[float] = None

    def after(self, at_s, watts, celsius):
        """With one sample more; None: not readable."""
        seen = self._replace(first_s=at_s if self.first_s is None else self.first_s, last_s=at_s)
        if celsius is not None:
            seen = seen._replace(max_c=celsius if self.max_c is None else max(self.max_c, celsius))
        if watts is None:
            return seen
        before_s, before = self.read or (at_s, watts)
        area_j = self.area_j + (at_s - before_s) * (watts + before) / 2
        return seen._replace(read=(at_s, watts), span_s=self.span_s + at_s - before_s, area_j=area_j)


class Sampler(object):
    """Samples a board's power and temperature in a thread, from ``start`` to ``stop``.

    clock: seconds.  pause: waits that many seconds; true to end.
    """

    def __init__(self, root="/", interval_s=0.2, clock=time.perf_counter, pause=None):
        self._root, self._interval_s, self._clock = root, interval_s, clock
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._rails = of_board(rails(root))
        self._seen, self._thread = _Seen(), None

    @property
    def reads_power(self):
        """Whether there is a rail to read."""
        return bool(self._rails)

    def start(self):
        """Begin afresh."""
        self._stopping.clear()
        self._seen = _Seen()
        self.sample()
        # Where there is no rail, a thread would only disturb what is measured.
        if self.reads_power:
            self._thread = threading.Thread(target=self._run, name="power", daemon=True)
            self._thread.start()

    def stop(self):
        """End; the Power since ``start``."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.sample()
        return self.power()

    def sample(self):
        """Take one sample now."""
        watts, hottest = now(self._rails, self._root)
        self._seen = self._seen.after(self._clock(), watts, hottest)

    def power(self):
        """The Power of the samples so far."""
        seen = self._seen
        if seen.first_s is None:
            return Power(0.0)
        mean = seen.area_j / seen.span_s if seen.span_s > 0 else seen.read and seen.read[1]
        return Power(seen.last_s - seen.first_s, mean, seen.max_c)

    def _run(self):
        while not self._pause(self._interval_s):
            self.sample()


def _glob(root, pattern):
    return sorted(glob.glob(os.path.join(glob.escape(str(root)), pattern)))


def _word(path):
    return text_of("", path).strip()


def _scaled(path, unit):
    try:
        return int(text_of("", path)) * unit
    except ValueError:
        return None


def _product(volts, amperes):
    millivolts, milliamperes = _scaled(volts, 1), _scaled(amperes, 1)
    return None if millivolts is None or milliamperes is None else millivolts * milliamperes * 1e-6
