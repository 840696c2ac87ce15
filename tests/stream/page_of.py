"""A run with its page, in this process: bundles of recorded engines, and a client of the standard library."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import cv2
import numpy as np

from apps.stream import loop, views
from apps.stream.cameras.again import Again
from apps.stream.cameras.capture import Capture
from apps.stream.cameras.frames import Source
from apps.stream.cameras.sources import open_source
from apps.stream.engine_from_bundle import open_engine
from apps.stream.page import access, web
from apps.stream.readers import Whole
from apps.stream.sinks import Sink
from apps.stream.switch import Switch
from apps.stream.views.base import Scene
from edge_mpq.engines import replay
from edge_mpq.records import bundle as bundle_record
from tests.stream.scripted import SIZE, bundle, picture

# fp32 sees fire at 73 %, int8 at 98 %, the mixed plan at 5 %.
LOGITS = {"fp32": [[0.0, 1.0]], "int8": [[0.0, 4.0]], "model": [[3.0, 0.0]]}


class Reply(NamedTuple):
    """status, headers and body of an answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Page:
    """A client of the page at ``url``; it asks as the page itself would, unless told otherwise."""

    def __init__(self, url: str) -> None:
        self.url = url
        found = urlsplit(url)
        assert found.port is not None
        self.port, self.query = found.port, found.query
        self.cookie = ""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request on a connection of its own."""
        given = {"Cookie": self.cookie} if self.cookie else {}
        given.update({name.replace("_", "-"): value for name, value in headers.items()})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        """A GET."""
        return self.ask("GET", path, **headers)

    def post(self, path: str, **body: Any) -> Reply:
        """A POST from the page itself."""
        return self.ask("POST", path, json.dumps(body).encode(), Origin=f"http://127.0.0.1:{self.port}")

    def figures(self) -> dict[str, Any]:
        """The figures of now."""
        return self.get("/figures.json").json()

    def until(self, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first figures that ``met`` holds of."""
        for _ in range(600):
            figures = self.figures()
            if met(figures):
                return figures
            time.sleep(0.03)
        raise AssertionError(figures)


class _Stop(Sink):
    def __init__(self) -> None:
        self.asked = threading.Event()

    def write(self, shown):
        return "the test is over" if self.asked.is_set() else None


def write_engines(folder: Path, task: str = "classify", logits: dict[str, Any] | None = None) -> Path:
    """A sealed bundle in ``folder`` with an engine of recorded answers for each role of ``logits``."""
    folder.mkdir()
    logits = LOGITS if logits is None else logits
    for role, outputs in logits.items():
        replay.record(folder / f"{role}.npz", outputs, (None, 3, SIZE, SIZE))
    bundle_record.seal(folder, bundle(task)._replace(files={role: f"{role}.npz" for role in logits}))
    return folder


def write_pictures(folder: Path, count: int = 4) -> Path:
    """A folder of different pictures."""
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), picture(240, 320, 20 + 50 * number))
    return folder


@contextlib.contextmanager
def served(folder: Path, opened: Callable[[], Source], address: str = "127.0.0.1:0") -> Iterator[Page]:
    """The Page of a stream from the sources ``opened()`` gives through the bundle in ``folder``."""
    record, said, stop, ended = bundle_record.open_folder(folder), [], _Stop(), []
    with contextlib.ExitStack() as stack:
        capture = stack.enter_context(Capture(Again(opened)))
        switch = Switch(lambda role, tell: open_engine(folder, record, role, "replay", 1, tell), record, "model")
        stack.enter_context(switch)
        live = stack.enter_context(web.served(access.parse(address), record, switch, capture, said.append))

        def work() -> None:
            view = views.bound(None, record.task, Scene(record.classes))
            ended.append(loop.run(capture, switch.turn(), Whole(record), [live, stop], live=live, view=view).ended)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield Page(said[0].partition(": ")[2])
        stop.asked.set()
        thread.join(20)
        assert ended == ["the test is over"]


def pictures(folder: Path, fps: float = 100.0) -> Callable[[], Source]:
    """What opens the pictures of ``folder`` as a camera."""
    return lambda: open_source(str(folder), time.perf_counter, fps)


def pixels(jpeg: bytes) -> np.ndarray:
    """The picture in ``jpeg``."""
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded
