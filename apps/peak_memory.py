"""The memory that an engine takes: the peak of a fresh process that opens it and answers with it.

``python -m apps.peak_memory BACKEND ENGINE THREADS BATCH`` is that process, and prints MiB as JSON:
``loaded`` before the engine is opened, with its library in memory, and ``peak`` at the end.
"""

import json
import os
import subprocess
import sys
from typing import NamedTuple

from edge_mpq.__main__ import stages_folder
from edge_mpq.errors import EngineError

RUNS = 20


class Memory(NamedTuple):
    """MiB of resident memory: loaded: interpreter and libraries alone.  peak: with the engine at work."""

    loaded_mib: float
    peak_mib: float


def of_engine(backend: str, engine_path: str, threads: int = 1, batch: int = 1) -> Memory:
    """Start the process and read its answer; EngineError when it fails."""
    words = [backend, os.path.abspath(engine_path), str(threads), str(batch)]
    command = [sys.executable, "-m", "apps.peak_memory", *words]
    done = subprocess.run(command, cwd=stages_folder(), capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EngineError(f"the memory of {engine_path} could not be measured ({reason})", "open the engine by itself")
    return Memory(**json.loads(done.stdout))


def peak_mib() -> float:
    """The most resident memory this process ever had.

    Linux tells it of this program alone; the peak that getrusage tells begins with the parent's.
    """
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20


def main(argv: list[str]) -> int:
    """Open, answer, and tell."""
    backend, path, threads, size = argv
    from edge_mpq import engines
    from edge_mpq.engines.onnxruntime import random_batch

    module = engines.get(backend)
    if backend.partition("_")[0] == "onnxruntime":
        import onnxruntime  # noqa: F401 - a library, which every engine needs once
    loaded = peak_mib()
    with module.open(path, int(threads)) as engine:
        batch = random_batch(engine, int(size))
        for _ in range(RUNS):
            engine.infer(batch)
    sys.stdout.write(json.dumps(Memory(loaded, peak_mib())._asdict()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
