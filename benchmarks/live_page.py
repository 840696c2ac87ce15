"""What the page of a stream costs it: frames a second without, with, and watched, in interleaved turns.

    python -m benchmarks.live_page BUNDLE [--turns 20] [--seconds 2]

One engine of the bundle answers the test scene (640 x 480) as fast as it can.  ``alone``: no
page.  ``served``: a page that nobody has open.  ``watched``: one client, a process of its own,
fetches pictures and figures as a browser does, but draws none.  A turn's ratio is against the
``alone`` of the same turn; the median of the turns is told.  ``core`` is the processor time of
this process beyond that of as many frames alone, in parts of one core: on a busy machine it
says more than the rate.
"""

import argparse
import contextlib
import http.client
import json
import select
import statistics
import subprocess
import sys
import time

import cv2

from apps.stream import loop
from apps.stream.cameras.again import Again
from apps.stream.cameras.capture import Capture
from apps.stream.cameras.frames import Synthetic
from apps.stream.engine_from_bundle import ROLES, open_engine
from apps.stream.page import access, web
from apps.stream.readers import Whole
from apps.stream.switch import Switch
from edge_mpq.records import bundle as bundles

WAYS = ("alone", "served", "watched")


def turn(folder, record, engine, role, way, seconds):
    """(frames a second, processor seconds a second, pictures a second the client got) of one turn."""
    with contextlib.ExitStack() as stack:
        capture = stack.enter_context(Capture(Again(Synthetic)))
        live, client = None, None
        if way != "alone":
            # The engine is the same in all turns, and not this switch's to close.
            switch = Switch(lambda role, tell: engine, record, role)
            told: list[str] = []
            live = stack.enter_context(web.served(access.parse("127.0.0.1:0"), record, switch, capture, told.append))
        if way == "watched":
            port = told[0].rsplit(":", 1)[1].strip("/")
            command = [sys.executable, "-m", "benchmarks.live_page", "--client", port]
            client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            # It speaks once its first picture came.
            while not select.select([client.stdout], [], [], 0)[0]:
                loop.run(capture, engine, Whole(record), [live], seconds=0.2, live=live)
        before = time.process_time()
        stream = loop.run(capture, engine, Whole(record), [live] if live else [], seconds=seconds, live=live)
        spent = (time.process_time() - before) / stream.seconds
    # Its second line comes once the server is gone.
    return stream.fps, spent, float(client.communicate()[0].split()[1]) if client else 0.0


def client(port):
    """Fetch pictures, and figures every 0.3 s, until the server is gone; print how many pictures came a second."""
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=5) for _ in range(2)]
    number, pictures, figures_at, begun = "0", 0, 0.0, None
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            connections[0].request("GET", "/frame.jpg?after=" + number)
            reply = connections[0].getresponse()
            reply.read()
            if reply.status != 200:
                break
            number, pictures = reply.headers["X-Frame"], pictures + 1
            if begun is None:
                begun = time.perf_counter()
                print("begun", flush=True)
            if time.perf_counter() - figures_at > 0.3:
                figures_at = time.perf_counter()
                connections[1].request("GET", "/figures.json")
                connections[1].getresponse().read()
    print(pictures / (time.perf_counter() - (begun or 0)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--role", choices=[role for role, _ in ROLES], default="model")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        return client(args.client)
    cv2.setNumThreads(1)
    record = bundles.open_folder(args.bundle)
    seen: dict[str, list[float]] = {way: [] for way in WAYS}
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    got = []
    with open_engine(args.bundle, record, args.role) as engine:
        for number in range(args.turns):
            for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                fps, cores, pictures = turn(args.bundle, record, engine, args.role, way, args.seconds)
                seen[way].append(fps)
                spent[way].append(cores)
                if way == "watched":
                    got.append(pictures)
    ratios = {way: [one / alone for one, alone in zip(seen[way], seen["alone"], strict=True)] for way in WAYS[1:]}
    told = {way + "_fps": round(statistics.median(seen[way]), 1) for way in WAYS}
    for way, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        told[way + "_ratio"] = {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
        beyond = [one - ratio * alone for one, ratio, alone in zip(spent[way], values, spent["alone"], strict=True)]
        told[way + "_core"] = round(statistics.median(beyond), 3)
    print(json.dumps(dict(told, pictures_a_second=round(statistics.median(got), 1))))
    return None


if __name__ == "__main__":
    main()
