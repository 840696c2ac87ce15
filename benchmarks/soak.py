"""Left running: a camera that fails by schedule, a page with a client, engines that change; what stays as it should?

    python -m benchmarks.soak BUNDLE --minutes 30 --out soak/

The camera gives the test scene; each minute it changes its size, sends a second of spoilt frames, is gone
for four seconds, and then for nine, in turns, sends nothing but spoilt frames or hangs.  Engine and threshold
change every twenty seconds, and a process of its own looks at the page as a browser does.  At the end it must
hold that the run ended by its time, that each loss was told once and each return, that frames came in any five
seconds in which the camera gave some, and that the memory of the process grew by no more than GROWTH_MIB an
hour after the first fifth: the slope of a line through its samples.  Writes soak.json and soak.png;
exit code 1 where something did not hold.
"""

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

from apps import measure
from apps.stream import loop, sinks
from apps.stream.cameras.again import Again
from apps.stream.cameras.capture import Capture
from apps.stream.cameras.frames import TORN, Source
from apps.stream.cameras.testcard import Scene
from apps.stream.engine_from_bundle import open_engine
from apps.stream.page import access, web
from apps.stream.readers import Whole
from apps.stream.switch import Switch
from edge_mpq.errors import SourceError
from edge_mpq.records import bundle as bundles

GROWTH_MIB = 12.0
# Seconds of a minute's schedule from which on the camera is in each state; the last one in turns.
PHASES = (
    (0, "whole"), (20, "large"), (24, "spoilt"), (25, "whole"), (35, "gone"), (39, "whole"), (48, ""), (57, "whole")
)  # fmt: skip
IN_TURNS = ("nothing but spoilt", "hangs")
LOSING = ("gone", *IN_TURNS)
CHANGE_S, SETTLED_S, QUIET_S, STALLED_S = 20.0, 5.0, 5.0, 5.0


class Schedule(NamedTuple):
    """What the camera does when.  minute_s: how long the minute of the schedule takes.  fps: of the camera."""

    minute_s: float = 60.0
    fps: float = 20.0

    def state(self, at_s: float) -> str:
        """The state of the camera ``at_s`` seconds after the beginning."""
        minute, second = divmod(at_s / self.minute_s * 60, 60)
        state = [name for begin, name in PHASES if begin <= second][-1]
        return state or IN_TURNS[int(minute) % 2]

    def real(self, seconds: float) -> float:
        """Seconds of the schedule in real ones."""
        return seconds * self.minute_s / 60

    def losses(self, until_s: float) -> int:
        """How often the camera is lost before ``until_s``."""
        states = [self.state(self.real(second / 2)) for second in range(int(2 * until_s / self.minute_s * 60))]
        return sum(now in LOSING and now != before for before, now in zip(states, states[1:], strict=False))

    def settled(self, at_s: float) -> bool:
        """Whether frames must be coming: the camera has been well for some seconds."""
        times = [at_s - self.real(SETTLED_S * part / 10) for part in range(11)]
        return times[-1] > 0 and not any(self.state(one) in LOSING for one in times)


class Faulty(Source):
    """A camera that follows ``schedule`` since ``begun``, a reading of time.monotonic."""

    name, live = "camera", True

    def __init__(self, schedule: Schedule, begun: float) -> None:
        super().__init__()
        self._schedule, self._begun, self._index = schedule, begun, 0
        self._scenes = {"whole": Scene(), "large": Scene(960, 720)}
        self.stalled_after_s, self._due = schedule.real(STALLED_S), time.monotonic()
        if self._state() == "gone":
            raise SourceError("the camera does not open", "wait")

    def _state(self) -> str:
        return self._schedule.state(time.monotonic() - self._begun)

    def read(self):
        state = self._state()
        # A broken cable gives spoilt frames as fast as they are asked for.
        hurry = 10 if state == IN_TURNS[0] else 1
        self._due = max(self._due + 1 / self._schedule.fps / hurry, time.monotonic() - 1)
        self.stopping.wait(max(0.0, self._due - time.monotonic()))
        self._index += 1
        if state == "gone":
            self.ended, self.vanished = "camera stopped giving frames", True
            return None
        if state == "hangs":
            self.stopping.wait()
            return None
        if "spoilt" in state:
            return TORN if self._index % 2 else np.zeros((4, 4), np.float32)
        return self._scenes[state].picture(self._index)


class Counted(sinks.Sink):
    """Counts frames."""

    frames = 0

    def write(self, shown):
        self.frames += 1


def client(port: int) -> None:
    """Look at the page until it is gone: pictures, and figures every third of a second."""
    pages = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(2)]
    number, figures_at = "0", 0.0
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            pages[0].request("GET", "/frame.jpg?after=" + number)
            reply = pages[0].getresponse()
            reply.read()
            number = reply.headers.get("X-Frame", number)
            if time.monotonic() - figures_at > 0.3:
                figures_at = time.monotonic()
                pages[1].request("GET", "/figures.json")
                pages[1].getresponse().read()


@contextlib.contextmanager
def looked_at(url: str) -> Iterator[None]:
    """A client of the page in a process of its own."""
    port = url.rsplit(":", 1)[1].strip("/")
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.soak", "--client", port])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def rss_mib() -> float:
    """Memory of this process that is in use."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def soak(folder: Path, seconds: float, schedule: Schedule, backend: str | None = None) -> dict[str, Any]:
    """Run for ``seconds``; what was seen: the Stream, the lines told, and a row of samples a second of the schedule."""
    record, told, counted = bundles.open_folder(folder), [], Counted()
    samples: list[tuple[float, float, int, str]] = []
    over = threading.Event()
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        again = Again(lambda: Faulty(schedule, begun), lambda s: over.wait(schedule.real(s)), False, 300.0, told.append)
        capture = stack.enter_context(Capture(again))
        first = next(role for role in ("model", "fp32", "int8") if role in record.files)
        opened = Switch(lambda role, say: open_engine(folder, record, role, backend, 1, say), record, first)
        switch = stack.enter_context(opened)
        for role in switch.names:
            switch.ask(role)
            switch.turn()
        page: list[str] = []
        live = stack.enter_context(web.served(access.parse("127.0.0.1:0"), record, switch, capture, page.append))
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        outs = [live, counted, sinks.Sampler(), sinks.JsonLines(scratch + "/out.jsonl")]
        stack.callback(outs[-1].close)

        def watch() -> None:
            roles, changes = list(switch.names), 0
            while not over.wait(schedule.real(1)):
                at_s = time.monotonic() - begun
                samples.append((at_s, rss_mib(), counted.frames, switch.role or ""))
                if at_s > changes * schedule.real(CHANGE_S):
                    changes += 1
                    switch.ask(roles[changes % len(roles)])
                    live.watch(live.watched, 0.3 + 0.1 * (changes % 5))

        stack.enter_context(looked_at(page[0].split(": ")[1]))
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            stream = loop.run(capture, switch.turn(), Whole(record), outs, seconds=seconds, live=live)
        finally:
            over.set()
            watcher.join()
        faults = dict(switch.faults)
    lost, back = (sum(word in line for line in told) for word in ("is lost", "is back"))
    return {
        "stream": stream._asdict(),
        "seconds": time.monotonic() - begun,
        "minute_s": schedule.minute_s,
        "losses": again.losses,
        "losses_by_schedule": schedule.losses(seconds),
        "told_lost": lost,
        "told_back": back,
        "engine_faults": faults,
        "silent": silent(samples, schedule),
        "growth_mib_an_hour": growth(samples),
        "samples": samples,
    }


def silent(samples: list[tuple[float, float, int, str]], schedule: Schedule) -> list[float]:
    """The times at which no frame had come for five seconds though the camera gave some."""
    found, since, quiet_s = [], None, max(1.0, schedule.real(QUIET_S))
    for before, now in zip(samples, samples[1:], strict=False):
        if not schedule.settled(now[0]) or now[2] != before[2]:
            since = None
        elif since is None:
            since = before[0]
        if since is not None and now[0] - since >= quiet_s:
            found.append(now[0])
    return found


def growth(samples: list[tuple[float, float, int, str]]) -> float:
    """MiB an hour by which memory grew after the first fifth: the slope of the least of each minute.

    What a large frame takes for a moment is given back; what leaks is not, and raises the least.
    """
    least: dict[int, tuple[float, float]] = {}
    for at, mib, *_ in samples[len(samples) // 5 :]:
        minute = int(at // 60)
        least[minute] = min(least.get(minute, (at, mib)), (at, mib), key=lambda pair: pair[1])
    if len(least) < 2:
        return 0.0
    times, memory = np.array(list(least.values())).T
    return float(np.polyfit(times / 3600, memory, 1)[0])


def faults(told: dict[str, Any], bound: float = GROWTH_MIB) -> list[str]:
    """What did not hold."""
    # What lies at the very end may be under way.
    expected = told["losses_by_schedule"]
    checks = {
        "the run ended: " + told["stream"]["ended"]: told["stream"]["ended"] == "the time asked for",
        f"{told['losses']} losses, not {expected}": expected - 1 <= told["losses"] <= expected,
        f"{told['told_lost']} losses told": told["told_lost"] == told["losses"],
        f"{told['told_back']} returns told": told["losses"] - 1 <= told["told_back"] <= told["losses"],
        f"no frame at {told['silent'][:9]} s": not told["silent"],
        f"engines failed: {told['engine_faults']}": not told["engine_faults"],
        f"memory grew by {told['growth_mib_an_hour']:.1f} MiB an hour": told["growth_mib_an_hour"] <= bound,
    }
    return [what for what, holds in checks.items() if not holds]


def draw(told: dict[str, Any], path: Path) -> None:
    """Memory and frames a second over time; grey where the camera was lost."""
    times, memory, frames = (np.array(column) for column in list(zip(*told["samples"], strict=True))[:3])
    figure = Figure(figsize=(9, 4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(times / 60, memory, color="#2a6fb8", linewidth=1)
    upper.set(ylabel="memory, MiB", ylim=(0, 1.2 * memory.max()))
    lower.plot(times[1:] / 60, np.diff(frames) / np.diff(times), color="#3d4550", linewidth=0.8)
    lower.set(ylabel="frames a second", xlabel="minutes", ylim=(0, None))
    schedule = Schedule(told["minute_s"])
    for axes in (upper, lower):
        gone = np.array([schedule.state(at) in LOSING for at in times])
        axes.fill_between(times / 60, 0, axes.get_ylim()[1], where=gone, color="#000000", alpha=0.12, linewidth=0)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run, write what was seen, and print it without the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=Path("soak"))
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        client(args.client)
        return 0
    cv2.setNumThreads(1)
    told = soak(args.bundle, 60 * args.minutes, Schedule())
    told.update(machine=measure.machine(1), date=time.strftime("%Y-%m-%d"), faults=faults(told))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "soak.json").write_text(json.dumps(told) + "\n")
    draw(told, args.out / "soak.png")
    print(json.dumps({name: value for name, value in told.items() if name != "samples"}, indent=1))
    return 1 if told["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
