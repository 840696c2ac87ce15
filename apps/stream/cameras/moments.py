"""When in its source a frame lies."""


class Moments(object):
    """Frame or Shown -> seconds in its source.  sources: as many as there are streams.

    A video has its own time, however fast and often it is played: a frame's number over the rate.  Of a
    camera, and where no rate is known, it is the time since the first frame.  One Moments
    is for Frames or for Shown, whose ``time_s`` begin apart.
    """

    def __init__(self, sources):
        self._sources, self._first_s = list(sources), {}

    def __call__(self, seen):
        stream = seen.stream or 0
        source = self._sources[stream]
        if source.recorded_fps:
            return (seen.position % source.length if source.length else seen.position) / float(source.recorded_fps)
        return seen.time_s - self._first_s.setdefault(stream, seen.time_s)
