"""A camera through ``gst-launch-1.0`` in a process of its own, for an OpenCV without GStreamer.

The process writes raw BGR frames, one behind the other, to a pipe of their own: NVIDIA's
elements print what they do to standard output.
"""

import os
import signal
import subprocess
import tempfile
import threading

import numpy as np

from apps.stream.cameras.frames import STALLED_S, TORN, Source
from edge_mpq.errors import SourceError

# From interrupting to killing; argus needs a moment to let go of its sensor.
LEAVE_S = 3.0


class Piped(Source):
    """Frames of [height, width, 3] uint8 from a process.

    command: its words, to which ``fd=N`` is added, where it is to write.  live: as of a
    camera.  The first frame is read at once, so that what gives none is refused here:
    SourceError with what the process complained.
    """

    def __init__(self, name, command, width, height, live, mend, first_within_s=STALLED_S):
        Source.__init__(self)
        self.name, self.live, self.stalled_after_s = name, live, STALLED_S if live else None
        # GStreamer begins every row of BGR at a multiple of 4 bytes.
        self._shape, self._stride = (height, width, 3), (3 * width + 3) // 4 * 4
        self._complaints = tempfile.TemporaryFile()
        self._process, self._pipe = _started(command, self._complaints, mend)
        try:
            timer = threading.Timer(first_within_s, self._process.kill)
            timer.daemon = True
            timer.start()
            first = self._take()
            timer.cancel()
            if first is None or first is TORN:
                killed = self._process.wait() == -signal.SIGKILL
                late = "nothing came for {:.0f} s".format(first_within_s)
                why = late if killed else self._complaint()
                raise SourceError("{} opens but gives no frame: {}".format(name, why), mend)
        except BaseException:
            self.close()
            raise
        self._ahead = [first]

    def read(self):
        frame = self._ahead.pop() if self._ahead else self._take()
        if frame is None:
            self._say_why()
        return frame

    def stop(self):
        Source.stop(self)
        # The reader waits in the pipe; its end wakes it.
        _signal(self._process, signal.SIGINT)

    def close(self):
        _signal(self._process, signal.SIGINT)
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe.close()
        self._complaints.close()

    def _take(self):
        """The next frame, TORN where the stream ends within one, None where it ends before."""
        height, width, _ = self._shape
        buffer = bytearray(height * self._stride)
        view, filled = memoryview(buffer), 0
        while filled < len(buffer):
            count = self._pipe.readinto(view[filled:])
            if not count:
                return TORN if filled else None
            filled += count
        rows = np.frombuffer(buffer, np.uint8).reshape(height, self._stride)
        return rows[:, : 3 * width].reshape(self._shape)

    def _say_why(self):
        code = self._process.wait()
        if self.stopping.is_set():
            self.ended = "stopped"
        elif code == 0 and not self.live:
            self.ended = "end of file"
        else:
            self.ended, self.vanished = "camera stopped giving frames: {}".format(self._complaint()), True

    def _complaint(self):
        """The last error the process told, or the last it said, or how it ended."""
        self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, self._complaints.tell() - 4096))
        lines = self._complaints.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        errors = [line for line in said if "ERROR" in line]
        return (errors or said or ["it ended with code {}".format(self._process.poll())])[-1][:200]


def _started(command, complaints, mend):
    """The process and the reading end of its pipe."""
    readable, writable = os.pipe()
    try:
        process = subprocess.Popen(
            command + ["fd={}".format(writable)],
            stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints, pass_fds=(writable,),
        )  # fmt: skip
    except OSError as error:
        os.close(readable)
        complaints.close()
        raise SourceError("{} does not start ({})".format(command[0], error.strerror), mend) from error
    finally:
        os.close(writable)
    return process, os.fdopen(readable, "rb", 0)


def _signal(process, number):
    if process.poll() is None:
        process.send_signal(number)
