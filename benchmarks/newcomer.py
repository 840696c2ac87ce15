"""How long until a newcomer sees the live page: clone, install, demo, page, each timed.

    python -m benchmarks.newcomer [--from URL] [--keep DIR]

Runs what README says, in an empty folder: ``git clone``, ``make install``, ``make demo``, then
``edge-mpq run ... --web`` until the page gives its first picture.  How long installation takes
depends on the network, the rest on the machine.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN = ".venv/bin/edge-mpq run runs/demo/bundle --source runs/demo/flyover.mp4 --web 127.0.0.1:0 --seconds 300"


def timed(steps: dict[str, float], name: str, command: str, folder: Path) -> None:
    """Run one command; its output is shown only where it fails."""
    print(f"{name}: {command}", flush=True)
    started = time.perf_counter()
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    steps[name] = round(time.perf_counter() - started, 1)


def page(folder: Path) -> float:
    """Seconds from the command to the page's first picture."""
    started = time.perf_counter()
    running = subprocess.Popen(RUN.split(), cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        for line in running.stderr:
            found = re.search(r"the page: (http://\S+)", line)
            if found:
                break
        else:
            raise SystemExit("the run ended before it had a page")
        address = found.group(1) + "frame.jpg?after=0"
        with urllib.request.urlopen(address, timeout=60) as reply:
            assert reply.read(2) == b"\xff\xd8", "the page's picture is no JPEG"
        return round(time.perf_counter() - started, 1)
    finally:
        running.kill()
        running.wait()


def main() -> None:
    """Print the seconds of each step as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="origin", default=str(ROOT), metavar="URL", help="what to clone (this checkout)")
    parser.add_argument("--keep", metavar="DIR", help="clone here, and leave it")
    args = parser.parse_args()
    folder = Path(args.keep or tempfile.mkdtemp(prefix="newcomer-"))
    steps: dict[str, float] = {}
    try:
        timed(steps, "clone_s", f"git clone -q {args.origin} {folder}", ROOT)
        timed(steps, "install_s", "make install", folder)
        timed(steps, "demo_s", "make demo", folder)
        steps["page_s"] = page(folder)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({**steps, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
