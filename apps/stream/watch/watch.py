"""The sink that raises an alarm: it tells every way out, and has the video around it recorded."""

import time

from apps.stream.sinks import Sink
from apps.stream.watch.alarm import RAISED, Alarm


class Watch(Sink):
    """Watches the answers of one run.

    condition, when: as in alarm.py.  ways: where events go (alarm_to.py).  recorder: makes the
    Recorder of a source, or None.  title: of the bundle.  names: of the sources.  seconds: Shown ->
    time in its source.  clock: seconds since 1970.  Of several sources each has an alarm of its own.
    """

    def __init__(self, condition, when, ways, title, names, seconds, recorder=None, clock=time.time):
        self._condition, self._when, self._ways = condition, when, ways
        self._title, self._names = title, list(names)
        self._seconds, self._new_recorder, self._clock = seconds, recorder, clock
        self._alarms, self._recorders = {}, {}
        self.raised = 0

    def wants(self, number):
        # Of every frame: any may be the one of the event.
        return self._new_recorder is not None

    def write(self, shown):
        stream, time_s = shown.stream, self._seconds(shown)
        if stream not in self._alarms:
            self._alarms[stream] = Alarm(self._when)
            if self._new_recorder is not None:
                self._recorders[stream] = self._new_recorder()
        recorder = self._recorders.get(stream)
        if recorder is not None:
            recorder.add(time_s, shown.picture)
        change = self._alarms[stream].see(self._condition.hit(shown.answer, shown.view.facts))
        if change is None:
            return
        self.raised += change == RAISED
        event = self._event(change, shown, time_s)
        event["snapshot"] = recorder.mark(event, time_s, shown.picture) if recorder is not None else None
        for way in self._ways:
            way.tell(event)

    def close(self):
        for recorder in self._recorders.values():
            recorder.close()
        for way in self._ways:
            way.close()

    def _event(self, change, shown, time_s):
        now = self._clock()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        event = dict(
            event=change,
            title=self._title,
            source=self._names[shown.stream or 0],
            time="{}.{:03d}Z".format(moment, int(1000 * (now % 1))),
            time_s=round(time_s, 3),
            frame=shown.position,
            label=shown.answer.label,
            confidence=round(float(shown.answer.confidence), 4),
            facts=dict(shown.view.facts),
            boxes=[list(box) for box in shown.view.boxes],
        )
        if shown.stream is not None:
            event["stream"] = shown.stream
        return event
