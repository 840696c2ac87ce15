"""Video around an alarm: the seconds before it was raised, until some after it was lowered.

Pictures are kept as JPEG in memory, bounded in seconds and bytes, and written by a thread of
the clip's own.  Of each alarm the folder gets ``STEM.jpg`` and ``STEM.json`` at once, and
``STEM.mp4`` (or .avi), under a temporary name until it is whole.
"""

import errno
import json
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple

import cv2

from apps.stream.page import clips
from apps.stream.page.live import COLUMNS, QUALITY, SNAPSHOT_QUALITY, encoded
from apps.stream.sinks import narrowed
from apps.stream.watch.alarm import RAISED
from edge_mpq.errors import EdgeMpqError, UsageError
from edge_mpq.records import document

BEFORE_S, AFTER_S, LONGEST_S = 10.0, 10.0, 600.0
# Of JPEGs that wait to be written, the kept seconds among them: what is beyond is left out of the video.
WAITING_BYTES = 2 * clips.KEPT_BYTES
# What a disk keeps free for everything else; a video of ten minutes takes about 200 MiB.
LEAST_FREE = 64 << 20
CLOSE_S = 30.0


class Recorder(object):
    """What records the alarms of one source into ``folder``.  say: told in one line of what cannot be written.

    Times are those of the source, in seconds; where they begin again, so does what is recorded.
    """

    def __init__(self, folder, say):
        self._folder, self._say = str(folder), say
        self._kept = clips.Kept(BEFORE_S)
        self._clip: Optional[_Clip] = None
        self._ended: List[_Clip] = []
        self._until: Optional[float] = None
        self._kept_s: Optional[float] = None

    def add(self, time_s, picture):
        """Take the picture of ``time_s``; of those that come faster than a video shows them some are left out."""
        if self._kept_s is not None and time_s < self._kept_s:  # a video that plays again
            self._end()
            self._kept, self._until, self._kept_s = clips.Kept(BEFORE_S), None, None
        # Before the picture is added: it may have come an hour after the one before.
        if self._clip is not None and self._clip.is_over(time_s, self._until):
            self._end()
        if self._kept_s is None or not 0 <= time_s - self._kept_s < 1.0 / clips.FRAMES_A_SECOND - 1e-6:
            jpeg = encoded(narrowed(picture, COLUMNS), QUALITY)
            self._kept_s = time_s
            self._kept.add(time_s, jpeg)
            if self._clip is not None:
                self._clip.add(time_s, jpeg)

    def mark(self, event, time_s, picture):
        """Begin to record where ``event`` is raised, and end some time after it is lowered.

        The path of its ``picture``, in full size; None where it is lowered, or nothing can be
        written.  Call it after :meth:`add`.
        """
        raised = event["event"] == RAISED
        self._until = None if raised else time_s + AFTER_S
        if self._clip is not None:
            self._clip.events.append(event)
        if not raised:
            return None
        try:
            if self._clip is None:
                self._clip = _Clip(self._folder, event, self._kept.pictures(), self._say)
            return self._clip.snapshot(encoded(picture, SNAPSHOT_QUALITY))
        except (OSError, EdgeMpqError) as error:
            self._say("the alarm is not recorded in {} ({})".format(self._folder, error))
            return None

    def close(self):
        """Finish what is under way; twice is harmless."""
        self._end()
        for clip in self._ended:
            clip.join()
        self._ended = []

    def _end(self):
        if self._clip is not None:
            self._clip.finish()
            # It may still be written when the next begins.
            self._ended = [clip for clip in self._ended if not clip.is_written()] + [self._clip]
            self._clip = None


class _Clip(object):
    """One video that a thread writes, with its side-car.  pictures: [(time_s, JPEG)] to begin with."""

    def __init__(self, folder, event, pictures, say):
        self._stem, self._say = _reserved(folder), say
        self._out, self._path = clips.video(self._stem)
        self.events, self._first_s = [event], pictures[0][0]
        self._begun_s, self._last_s, self._frames, self._snapshots = event["time_s"], pictures[0][0], 0, []
        self._waiting: Deque[Tuple[float, bytes]] = deque()
        self._bytes, self._left_out, self._finishing = 0, 0, False
        self._changed = threading.Condition()
        for time_s, jpeg in pictures:
            self.add(time_s, jpeg)
        self._save()
        self._thread = threading.Thread(target=self._write, name="alarm video", daemon=True)
        self._thread.start()

    def add(self, time_s, jpeg):
        """Take a picture; never waits."""
        with self._changed:
            if self._bytes + len(jpeg) > WAITING_BYTES:
                self._left_out += 1
                return
            self._waiting.append((time_s, jpeg))
            self._bytes += len(jpeg)
            self._changed.notify_all()

    def snapshot(self, jpeg):
        """Write ``jpeg`` beside the video; its path."""
        path = "{}{}.jpg".format(self._stem, "-{}".format(len(self._snapshots) + 1) if self._snapshots else "")
        document.write_bytes(path, jpeg)
        self._snapshots.append(os.path.basename(path))
        return path

    def is_over(self, time_s, until_s):
        """Whether the clip ends at ``time_s``, where the alarm was lowered AFTER_S before ``until_s`` or None."""
        return (until_s is not None and time_s > until_s) or time_s - self._begun_s > LONGEST_S

    def finish(self):
        """Let the thread write what waits, and end."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()

    def is_written(self):
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def join(self):
        """Wait until all is written, for CLOSE_S at most."""
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._say("{} was not written to its end".format(self._path))

    def _write(self):
        faults = []
        # What came is kept, whatever ends it.
        for step in (self._write_pictures, self._out.close, self._save):
            try:
                step()
            except (OSError, EdgeMpqError, cv2.error) as error:
                faults.append(str(error))
        if faults:
            self._say("{} ends early ({})".format(self._path, faults[0]))

    def _write_pictures(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._finishing)
                if not self._waiting:
                    return
                time_s, jpeg = self._waiting.popleft()
                self._bytes -= len(jpeg)
            self._out.write(clips.shown(time_s - self._first_s, clips.decoded(jpeg)))
            self._last_s = time_s
            self._frames += 1
            why = _full(os.path.dirname(self._stem))
            if why:
                raise OSError(why)

    def _save(self):
        body: Dict[str, Any] = {
            "events": self.events,
            "video": os.path.basename(self._path) if os.path.isfile(self._path) else "",
            "snapshots": self._snapshots,
            "from_s": round(self._first_s, 3),
            "to_s": round(self._last_s, 3),
            "pictures": self._frames,
            "left_out": self._left_out,
        }
        text = json.dumps(body, indent=1, allow_nan=False)
        document.write_bytes(self._stem + ".json", (text + "\n").encode("utf-8"))


def check(folder):
    """Raise UsageError unless ``folder`` is there, or can be made, takes a file, and has room."""
    try:
        if not os.path.isdir(folder):
            os.makedirs(folder)
        handle, path = tempfile.mkstemp(prefix=".half-", dir=folder)
        os.close(handle)
        os.unlink(path)
        why = _full(folder)
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise UsageError("--record cannot write to {} ({})".format(folder, why), "name another folder, or make room")


def _full(folder):
    free = shutil.disk_usage(folder).free
    return "{} MiB are free, {} are kept so".format(free >> 20, LEAST_FREE >> 20) if free < LEAST_FREE else ""


def _reserved(folder):
    """A stem that no other clip has, by its .json, which is made empty."""
    stem, number = os.path.join(folder, time.strftime("alarm-%Y%m%d-%H%M%S", time.gmtime())), 1
    while True:
        tried = stem if number == 1 else "{}-{}".format(stem, number)
        try:
            os.close(os.open(tried + ".json", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            return tried
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            number += 1
