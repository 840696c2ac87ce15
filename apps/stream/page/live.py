"""What the camera loop and its page tell each other while the stream runs.

The loop's thread takes the wishes of the page between two frames and leaves a picture and
figures; it never waits for anyone.  The page's threads ask for pictures, so that nothing
is drawn for nobody, and no faster than it is looked at.
"""

import re
import threading
import time
from typing import Any, Dict, NamedTuple

import cv2
import numpy as np

from apps.stream import decode, power
from apps.stream.showing import STAGES
from apps.stream.sinks import Sink, narrowed
from apps.stream.timing import Meter, Rate, Rolling

# Of the picture: more a second, or wider, takes from the engine what nobody sees on a page.
PICTURES_A_SECOND, COLUMNS, QUALITY = 20.0, 1280, 80
SNAPSHOT_QUALITY = 95
# How labels of nothing begin: No_Fire, background, normal.
NOTHING = re.compile(r"(no|non|not|none|nothing|normal|negative|background)(?![a-z])", re.IGNORECASE)
# A picture this old is not shown to someone who just came.
FRESH_S = 1.0
FIGURES_EVERY_S, BOARD_EVERY_S = 0.1, 1.0
LEAST_THRESHOLD, MOST_THRESHOLD = 0.01, 0.99


class Seen(NamedTuple):
    """A picture with its overlay, and its answer for JSON.

    number: from 1, of those drawn for the page.  time_s: when, by the clock.
    """

    number: int
    time_s: float
    pixels: np.ndarray
    answer: Dict[str, Any]


class Live(Sink):
    """The state of a run that has a page.

    capture: of a source that tells ``lost``, as Again does.  switch: the engines.  keep:
    told the time and the JPEG of every picture a page was given.  clock: seconds.
    """

    ROUNDS = True

    def __init__(self, bundle, switch, capture, keep=lambda time_s, jpeg: None, clock=time.perf_counter):
        self._bundle, self._capture, self._keep, self._clock = bundle, capture, keep, clock
        self.switch = switch
        self._meters = {role: Meter(STAGES) for role in switch.names}
        self._role, self._recent = None, Rolling(30)
        self._classes = [str(label) for label in bundle.classes]
        self.watched, self.threshold, self._shift = first_of_note(self._classes), 0.5, None
        self._changed = threading.Condition()
        self._wanted, self._seen = False, None
        self._encoding = threading.Lock()
        self._jpeg = 0, b""
        self._last_s, self._told_s, self._told = None, None, {}
        self._rails, self._board = power.of_board(power.rails()), (None, None, None)

    # What the loop calls: turns in its own thread, frames in the outlet's.

    def turn(self):
        """(Engine, shift of decode.decode) for the next frame; raises as Switch.turn does."""
        engine = self.switch.turn()
        if self.switch.role != self._role:
            self._role, self._recent = self.switch.role, Rolling(30)
            # The time it did not run is no part of its rate.
            self.meter.rate = Rate()
        return engine, self._shift

    @property
    def meter(self):
        """The Meter of the engine that answers."""
        return self._meters[self._role]

    @property
    def engine_name(self):
        """What the engine that answers is called."""
        return self.switch.names[self._role]

    @property
    def changes(self):
        """Whether the next turn is another engine's."""
        return self.switch.asked != self.switch.role

    def wants(self, number):
        due = self._seen is None or self._clock() - self._seen.time_s >= 1 / PICTURES_A_SECOND
        return self._wanted and due

    def write(self, shown):
        now = self._last_s = self._clock()
        self._recent.add(shown.ms)
        if not self._classes:
            self._classes = ["class {}".format(index) for index in range(len(shown.answer.scores))]
        if shown.picture is not None and self.wants(shown.number):
            with self._changed:
                number = self._seen.number + 1 if self._seen else 1
                self._seen, self._wanted = Seen(number, now, shown.picture, self._answer(shown)), False
                self._changed.notify_all()
        # Figures are made here, where nothing changes under them.
        if self._told_s is None or now - self._told_s >= FIGURES_EVERY_S:
            self._told_s, self._told = now, self._figures(shown)

    # What the page's threads call.

    def picture(self, after=0, timeout_s=5.0):
        """The Seen drawn next to number ``after``, or None where none is within ``timeout_s``."""

        def is_new():
            new = self._seen is not None and self._seen.number != after and self._seen.time_s >= since
            # Never taken back here: another may still wait.
            self._wanted = self._wanted or not new
            return new

        since = self._clock() - FRESH_S
        with self._changed:
            return self._seen if self._changed.wait_for(is_new, timeout_s) else None

    def jpeg(self, seen):
        """``seen`` as JPEG, encoded once for all who ask, at most COLUMNS wide."""
        with self._encoding:
            if self._jpeg[0] != seen.number:
                self._jpeg = seen.number, encoded(narrowed(seen.pixels, COLUMNS), QUALITY)
                self._keep(seen.time_s, self._jpeg[1])
            return self._jpeg[1]

    def snapshot(self):
        """The picture of now as JPEG in full size, or the last there was; None where there was none."""
        seen = self.picture(timeout_s=1.0) or self._seen
        return None if seen is None else encoded(seen.pixels, SNAPSHOT_QUALITY)

    def watch(self, watched, threshold):
        """Let class ``watched`` be the answer from ``threshold`` on; whether there is such a class and threshold."""
        if not (0 <= watched < len(self._classes) and LEAST_THRESHOLD <= threshold <= MOST_THRESHOLD):
            return False
        self.watched, self.threshold = watched, threshold
        self._shift = decode.shift_of(len(self._classes), watched, threshold)
        return True

    def figures(self):
        """What the page shows beside the picture, for JSON; None: not known, or not told by this machine."""
        now, switch = self._clock(), self.switch
        if self._board[0] is None or now - self._board[0] >= BOARD_EVERY_S:
            self._board = (now,) + power.now(self._rails)
        body = dict(self._told)
        body.update(
            title=self._bundle.title,
            task=self._bundle.task,
            source=self._capture.source.name,
            lost=self._capture.source.lost,
            age_s=None if self._last_s is None else max(0.0, now - self._last_s),
            dropped=self._capture.dropped,
            torn=self._capture.torn,
            watts=self._board[1],
            celsius=self._board[2],
            classes=self._classes,
            watched=self.watched,
            threshold=self.threshold,
            engine=switch.role,
            asked=switch.asked,
            opening=switch.opening,
            told=switch.told if switch.opening else "",
            engines=[self._engine(role, name, body) for role, name in switch.names.items()],
        )
        return body

    def _engine(self, role, name, told):
        engine = self.switch.opened(role)
        card = engine.card if engine is not None else None
        return {
            "role": role,
            "name": name,
            "fault": self.switch.faults.get(role, ""),
            "p50_ms": told.get("p50_ms_of", {}).get(role),
            "mib": card.engine_bytes / 2.0**20 if card else None,
            "device": "{} on {}".format(card.backend, card.device) if card else None,
        }

    def _answer(self, shown):
        """What the page shows of a Shown's answer with its picture."""
        answer = shown.answer
        # Where a model segments, the scores are areas, which no threshold is set against.
        classifies = self._bundle.task == "classify"
        return {
            "label": answer.label,
            "confidence": answer.confidence,
            "watched": answer.label == self._classes[self.watched],
            "beside_rival": decode.beside_rival(answer.scores, self.watched) if classifies else None,
            "share": None if classifies else float(answer.scores[self.watched]),
            "facts": dict(shown.view.facts),
        }

    def _figures(self, shown):
        """What changes with every frame."""
        answer, meter = shown.answer, self.meter
        return {
            "frames": sum(made.frames for made in self._meters.values()),
            "label": answer.label,
            "confidence": answer.confidence,
            "fps": meter.rate.per_second(),
            "recent_ms": self._recent.percentile(50),
            "p50_ms": meter.latency.percentile(50),
            "p99_ms": meter.latency.percentile(99),
            "p50_ms_of": {role: made.work.percentile(50) for role, made in self._meters.items() if made.frames},
            "stages_ms": meter.stages_p50_ms(),
        }


def first_of_note(classes):
    """The index of the first label that does not name the absence of something, else 0; 1 where there are none."""
    notes = [index for index, label in enumerate(classes) if not NOTHING.match(label)]
    # Class 0 is most often the background.
    return (notes + [0])[0] if classes else 1


def encoded(pixels, quality):
    """BGR pixels as the bytes of a JPEG."""
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
