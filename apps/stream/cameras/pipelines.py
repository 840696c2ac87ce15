"""The GStreamer pipeline of a camera, stream or video on a Jetson: text in, text out.

A camera is written as an address, ``csi://0?width=1280&height=720&fps=30&flip=2``.  Its
pipeline decodes and converts on the Jetson's own engines and gives BGR frames.
"""

import os
import re
from typing import NamedTuple
from urllib.parse import parse_qsl

from edge_mpq.errors import SourceError

# What may stand behind the question mark, per scheme: name -> (lowest, highest).
SIZES = {"width": (16, 8192), "height": (16, 8192)}
NUMBERS = {
    "csi": dict(SIZES, fps=(1, 240), flip=(0, 7)),
    "usb": dict(SIZES, fps=(1, 240), mjpeg=(0, 1)),
    "rtsp": dict(SIZES, latency=(0, 10000)),
    "file": dict(SIZES),
}
CODECS = ("h264", "h265")
DEMUXERS = {".mp4": "qtdemux", ".mov": "qtdemux", ".m4v": "qtdemux", ".mkv": "matroskademux"}
# JetPack's decoders leave frames in memory of the video engine; nvvidconv brings them out.
OUT_OF_NVMM = "nvvidconv ! video/x-raw, {}format=(string)BGRx ! videoconvert ! video/x-raw, format=(string)BGR"
DECODE = "{codec}parse ! nvv4l2decoder{fast} ! "
# The newest frame, at once.  A file instead waits for its reader.
NEWEST = "appsink max-buffers=1 drop=true sync=false"
EVERY = "appsink max-buffers=4 sync=false"


class Address(NamedTuple):
    """A source's address taken apart.

    kind: ``csi``, ``usb``, ``rtsp`` or ``file``.  place: sensor number, device, URL or path.
    The numbers are 0, and codec is '', where the address does not say.
    """

    kind: str
    place: str
    width: int = 0
    height: int = 0
    fps: int = 0
    flip: int = 0
    mjpeg: int = 0
    latency: int = 200
    codec: str = ""

    @property
    def live(self):
        """Whether frames not taken in time are lost."""
        return self.kind != "file"


def parse(spec):
    """The Address ``spec`` spells, or None where it is no ``csi usb rtsp file`` address.

    Raises SourceError for one that has a fault.
    """
    found = re.match(r"^(csi|usb|rtsp|file)://", spec)
    if not found:
        return None
    kind = found.group(1)
    if not spec.isprintable() or re.search(r"[\"'\\]| !", spec):
        what = "the {} address holds quotes, ' !' or signs that do not print".format(kind)
        raise SourceError(what, "spell them as %XX, or rename the file")
    if kind == "rtsp":
        # A stream's own query belongs to its URL; ours stands behind '#'.
        place, _, query = spec.partition("#")
    else:
        place, _, query = spec[len(kind) + 3 :].partition("?")
    faults, values = [], {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        low, high = NUMBERS[kind].get(name, (0, -1))
        if name == "codec" and kind in ("rtsp", "file"):
            values[name] = text
            if text not in CODECS:
                faults.append("codec={} is not one of {}".format(text, ", ".join(CODECS)))
        elif low > high:
            faults.append("{} is not known".format(name))
        elif not re.match(r"^\d{1,5}$", text) or not low <= int(text) <= high:
            faults.append("{}={} is not {} to {}".format(name, text, low, high))
        else:
            values[name] = int(text)
    if bool(values.get("width")) != bool(values.get("height")):
        faults.append("width and height go together")
    faults += _place_faults(kind, place)
    if faults:
        known = sorted(NUMBERS[kind]) + (["codec"] if kind in ("rtsp", "file") else [])
        mend = "{}:// takes {}".format(kind, ", ".join(known))
        raise SourceError("{}: {}".format(shown(spec), "; ".join(faults)), mend)
    return Address(kind, place, **values)


def shown(spec):
    """``spec`` without what a stream's address, its query or a pipeline may tell of passwords."""
    # To the last @, as FFmpeg reads it: a password may have one.
    spec = re.sub(r"(://)[^/\s]+@", r"\1***@", spec)
    return re.sub(r"(?i)([\w-]*(?:pw|pas|key|token)[\w-]*=)(\"[^\"]*\"|\S+)", r"\1***", spec)


def _place_faults(kind, place):
    if kind == "csi" and not re.match(r"^\d$", place):
        return ["the sensor is {!r}, not a number".format(place)]
    if kind == "usb" and not re.match(r"^(/dev/video)?\d+$", place):
        return ["the device is {!r}, not a number or /dev/videoN".format(place)]
    if kind == "file" and not place:
        return ["it names no file"]
    return []


def device_of(address):
    """``/dev/videoN`` of a usb address."""
    return address.place if address.place.startswith("/") else "/dev/video" + address.place


def of_address(address, jetpack="6"):
    """The pipeline of ``address`` up to BGR frames, without a sink.

    jetpack: its version.  Whether nvv4l2decoder takes MJPEG under JetPack 7 is not known, so
    the processor decodes it there.
    """
    size = "width=(int){0.width}, height=(int){0.height}, ".format(address) if address.width else ""
    if address.kind == "csi":
        wanted = address._replace(width=address.width or 1280, height=address.height or 720, fps=address.fps or 30)
        return (
            "nvarguscamerasrc sensor-id={0.place} ! video/x-raw(memory:NVMM), width=(int){0.width}, "
            "height=(int){0.height}, format=(string)NV12, framerate=(fraction){0.fps}/1 ! "
            "nvvidconv flip-method={0.flip} ! video/x-raw, format=(string)BGRx ! videoconvert ! "
            "video/x-raw, format=(string)BGR"
        ).format(wanted)
    if address.kind == "usb":
        rate = "framerate=(fraction){}/1, ".format(address.fps) if address.fps else ""
        caps = (size + rate).rstrip(", ")
        caps = ", " + caps if caps else ""
        source = "v4l2src device={} do-timestamp=true ! ".format(device_of(address))
        if not address.mjpeg:
            return source + "video/x-raw{} ! videoconvert ! video/x-raw, format=(string)BGR".format(caps)
        if jetpack.startswith("7"):
            return source + "image/jpeg{} ! jpegdec ! videoconvert ! video/x-raw, format=(string)BGR".format(caps)
        return source + "image/jpeg{} ! jpegparse ! nvv4l2decoder mjpeg=1 ! ".format(caps) + OUT_OF_NVMM.format("")
    codec = address.codec or "h264"
    if address.kind == "rtsp":
        # enable-max-performance keeps the decoder's clock up, which cuts delay.
        source = 'rtspsrc location="{}" latency={} ! rtp{}depay ! '.format(address.place, address.latency, codec)
        return source + DECODE.format(codec=codec, fast=" enable-max-performance=1") + OUT_OF_NVMM.format(size)
    demuxer = demuxer_of(address.place)
    if not demuxer:
        what = "{} is of no kind JetPack takes apart".format(address.place)
        raise SourceError(what, "it takes " + ", ".join(DEMUXERS))
    source = 'filesrc location="{}" ! {} ! '.format(address.place, demuxer)
    return source + DECODE.format(codec=codec, fast="") + OUT_OF_NVMM.format(size)


def demuxer_of(path):
    """The element that takes the container at ``path`` apart, or ''."""
    return DEMUXERS.get(os.path.splitext(path)[1].lower(), "")


def for_opencv(address, jetpack="6"):
    """The pipeline for ``cv2.VideoCapture(text, cv2.CAP_GSTREAMER)``."""
    return "{} ! {}".format(of_address(address, jetpack), NEWEST if address.live else EVERY)


def for_pipe(address, jetpack="6"):
    """The words behind ``gst-launch-1.0`` that write raw BGR frames; ``fd=N`` is still to be added."""
    # Late frames of a camera are dropped before the pipe, where they would wait in line.
    queue = " ! queue max-size-buffers=1 leaky=downstream" if address.live else ""
    pipeline = of_address(address, jetpack) + queue + " ! fdsink"
    return ["-q"] + [word.replace('"', "") for word in re.findall(r'(?:[^\s"]|"[^"]*")+', pipeline)]
