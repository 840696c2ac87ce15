"""The options of ``edge-mpq run`` for a fire watch, and what they make: reader, view and alarm."""

import functools
from typing import Any, List, NamedTuple

from apps.stream import views
from apps.stream.cameras import pipelines
from apps.stream.cameras.moments import Moments
from apps.stream.options import between
from apps.stream.page.live import first_of_note
from apps.stream.readers import Whole
from apps.stream.tiles import Tiles
from apps.stream.views.base import Scene
from apps.stream.watch import alarm, alarm_to, flight, recording
from apps.stream.watch.ground import Ground
from apps.stream.watch.masked import masked
from apps.stream.watch.watch import Watch
from edge_mpq.errors import UsageError


class Watching(NamedTuple):
    """What loop.run takes: reader, view, and further sinks."""

    reader: Any
    view: Any
    sinks: List[Watch]


def add(parser):
    """Add the options."""
    group = parser.add_argument_group("fire watch", "what is told of an answer, and to whom (docs/watch.md)")
    group.add_argument(
        "--view", metavar="V",
        help="what is told beside the label: {}, or a dotted name (by the task)".format(", ".join(views.names())),
    )  # fmt: skip
    group.add_argument(
        "--tiles", nargs="?", type=between(int, 8, 4096), const=0, metavar="SIDE",
        help="read large frames in overlapping tiles, SIDE pixels wide (as wide as the model's input)",
    )  # fmt: skip
    group.add_argument("--flight-log", metavar="FILE", help="where the camera was, as CSV or lines of JSON")
    group.add_argument("--field-of-view", type=between(float, 1, 179), metavar="DEG", help="of the picture's width")
    group.add_argument("--alarm", type=alarm.parse_condition, metavar="WHAT", help="a class, or FACT>NUMBER")
    group.add_argument(
        "--alarm-when", type=alarm.parse_when, metavar="K/N/J",
        help="raised in K of the last N frames, lowered in J of them or fewer ({}/{}/{})".format(*alarm.USUAL),
    )  # fmt: skip
    group.add_argument(
        "--alarm-to", type=alarm_to.parse, action="append", default=[], metavar="WHERE",
        help="stdout, http(s)://... or mqtt(s)://HOST/TOPIC; once more for each further one (stdout)",
    )  # fmt: skip
    group.add_argument("--record", metavar="DIR", help="keep a video of the seconds around each alarm")


def made(args, bundle, sources, say):
    """The Watching that the options ask for; UsageError, DataError for what cannot be.  say: told of later faults."""
    for option, needs in (
        ("alarm_when", "alarm"), ("alarm_to", "alarm"), ("record", "alarm"),
        ("flight_log", "field_of_view"), ("field_of_view", "flight_log"),
    ):  # fmt: skip
        if getattr(args, option) not in (None, []) and getattr(args, needs) is None:
            names = ["--" + name.replace("_", "-") for name in (option, needs)]
            raise UsageError("{} is of no use without {}".format(*names), "give both, or neither")
    watched = first_of_note(bundle.classes)
    scene = Scene(list(bundle.classes), watched, _ground(args, sources))
    view = views.bound(args.view, bundle.task, scene)
    reader = Whole(bundle) if args.tiles is None else Tiles(bundle, args.tiles or None, watched)
    return Watching(reader, view, [] if args.alarm is None else [_watch(args, bundle, sources, view, say)])


def facts(args, watching):
    """What a report says of it."""
    told = {}
    if args.tiles is not None:
        told["tiles"] = "{} pixels wide".format(watching.reader.side)
    for watch in watching.sinks:
        told["alarms"] = watch.raised
    return told


def without_secrets(args, word):
    """``word`` of the command line, for people."""
    # A source's address in the same word was shown without its password before.
    for where in args.alarm_to:
        if where != "stdout":
            word = word.replace(pipelines.shown(where), masked(where))
    return word


def _ground(args, sources):
    """What Scene.ground is to be."""
    if args.flight_log is None:
        return lambda frame: None
    if len(sources) > 1:
        raise UsageError("--flight-log is of one flight, and there are several sources", "run one for each")
    if not (sources[0].live or sources[0].fps):
        what = "{} does not say when its pictures were taken".format(sources[0].name)
        raise UsageError(what, "give their rate with --fps")
    log, moment = flight.load(args.flight_log), Moments(sources)

    def ground(frame):
        fix = log.at(moment(frame))
        return None if fix is None else Ground(fix, args.field_of_view, *frame.pixels.shape[:2])

    return ground


def _watch(args, bundle, sources, view, say):
    alarm.check(args.alarm, bundle.classes, view.FACTS)
    recorder = None
    if args.record is not None:
        recording.check(args.record)
        recorder = functools.partial(recording.Recorder, args.record, say)
    ways = [alarm_to.opened(where, say) for where in args.alarm_to or ["stdout"]]
    names, when = [source.name for source in sources], args.alarm_when or alarm.USUAL
    return Watch(args.alarm, when, ways, bundle.title, names, Moments(sources), recorder)
