"""What there is on this machine, gathered from its files and its programs' answers; judged in doctor_findings.py.

Files are read under ``root`` and programs asked through ``ask``, so that another machine
can stand in, written down.
"""

import glob
import json
import os
import platform
import re
import subprocess
import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

from apps.stream import jetson
from apps.stream.jetson import text_of

# Modules are asked for in a process of their own: a broken one may end it.
PROBE = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
told = {"version": str(getattr(module, "__version__", "")), "path": str(getattr(module, "__file__", "") or "")}
if sys.argv[1] == "cv2":
    told["gstreamer"] = any("GStreamer" in line and "YES" in line for line in module.getBuildInformation().split("\\n"))
print(json.dumps(told))
"""
MODULES = ("numpy", "cv2", "tensorrt", "pycuda", "onnx", "onnxruntime", "openvino")
PACKAGES = ("nvidia-jetpack", "nvidia-l4t-core", "python3-libnvinfer", "libopencv-python", "python3-opencv")
ELEMENTS = ("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder")
# The GPU's clock, by chip: Nano and Orin (.gpu), TX2, Xavier, Orin under JetPack 5, Thor.
GPU = re.compile(r"(\.gpu|gp10b|gv11b|ga10b|gpu-gpc-0)$")
VECTORS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
ANSWER_WITHIN_S = 60


class Told(NamedTuple):
    """A program's answer; code None where there is no such program, or it did not end."""

    code: Optional[int]
    out: str = ""
    err: str = ""


class Module(NamedTuple):
    """A Python module: gstreamer is OpenCV's, None of others; problem says why it does not import, '' where it does."""

    version: str = ""
    path: str = ""
    gstreamer: Optional[bool] = None
    problem: str = ""


class Memory(NamedTuple):
    """In MiB.  swap: free, on disk; zram, which only packs memory, is apart."""

    total: int
    available: int
    swap: int
    zram: int


class Facts(NamedTuple):
    """Everything the doctor looks at.

    python: (3, 6, 9).  modules: name -> Module, only those asked for.  packages: of dpkg,
    name -> version.  gpu: ``name, compute capability, driver`` of nvidia-smi.  power_mode:
    name of the mode; power_modes: number -> name.  cpu_mhz, gpu_mhz: (lowest, highest) the
    clocks may take.  cameras: (device, name).  argus: state of its daemon.  elements: of
    GStreamer, those that are there.  Empty: not there, or not told.
    """

    machine: str
    python: Tuple[int, ...]
    executable: str
    jetson: Optional[jetson.Jetson]
    modules: Dict[str, Module]
    packages: Dict[str, str]
    cuda: str
    gpu: str
    power_mode: str
    power_modes: Dict[int, str]
    cpu_mhz: Tuple[int, ...]
    gpu_mhz: Tuple[int, ...]
    memory: Memory
    cameras: List[Tuple[str, str]]
    argus: str
    gst_launch: bool
    elements: Tuple[str, ...]
    vectors: Tuple[str, ...]


def ask(words):
    """Run a program; what it Told."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=ANSWER_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return Told(None)
    return Told(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def gather(root="/", ask=ask, machine=None, python=None, executable=None):
    """The Facts of the machine whose files lie under ``root`` and whose programs answer through ``ask``."""
    executable = executable or sys.executable
    packages = _packages(ask)
    board = jetson.read(root)
    if board is not None and not board.l4t and "nvidia-l4t-core" in packages:
        l4t = jetson.l4t_of(packages["nvidia-l4t-core"])
        board = board._replace(l4t=l4t, jetpack=jetson.jetpack_of(l4t))
    smi = ask(["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"])
    gst = ask(["gst-launch-1.0", "--version"]).code == 0
    mode, modes = power_modes(root, ask)
    cpu_mhz, gpu_mhz = clocks(root)
    return Facts(
        machine=machine or platform.machine(),
        python=tuple(python or sys.version_info[:3]),
        executable=executable,
        jetson=board,
        modules={name: _module(executable, name, ask) for name in MODULES},
        packages=packages,
        cuda=_cuda(root),
        gpu=smi.out.strip().split("\n")[0] if smi.code == 0 else "",
        power_mode=mode,
        power_modes=modes,
        cpu_mhz=cpu_mhz,
        gpu_mhz=gpu_mhz,
        memory=_memory(root),
        cameras=_cameras(root),
        argus=ask(["systemctl", "is-active", "nvargus-daemon"]).out.strip() if board else "",
        gst_launch=gst,
        elements=tuple(name for name in ELEMENTS if gst and ask(["gst-inspect-1.0", "--exists", name]).code == 0),
        vectors=_vectors(root),
    )


def _module(executable, name, ask):
    told = ask([executable, "-c", PROBE, name])
    if told.code == 0:
        try:
            return Module(**json.loads(told.out.strip().split("\n")[-1]))
        except (ValueError, TypeError):
            return Module(problem="it prints {!r}".format(told.out[-60:]))
    if told.code is None or told.code < 0:
        signal = "" if told.code is None else " (signal {})".format(-told.code)
        return Module(problem="importing it ends Python{}".format(signal))
    last = (told.err.strip().split("\n") or [""])[-1]
    absent = "No module named '{}'".format(name) in last
    return Module(problem="not installed" if absent else last[:160] or "it does not import")


def _packages(ask):
    told = ask(["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n"] + list(PACKAGES))
    rows = [line.split() for line in told.out.split("\n")]
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "ii"}


def _cuda(root):
    try:
        return str(json.loads(text_of(root, "usr/local/cuda/version.json"))["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        pass
    found = re.search(r"CUDA Version ([\d.]+)", text_of(root, "usr/local/cuda/version.txt"))
    if found:
        return found.group(1)
    folders = _glob(root, "usr/local/cuda-[0-9]*")
    return os.path.basename(folders[-1])[len("cuda-") :] if folders else ""


def power_modes(root="/", ask=ask):
    """(name of the power mode, number -> name of all there are); '' where it is not told."""
    pattern = r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>"
    modes = {int(number): name for number, name in re.findall(pattern, text_of(root, "etc/nvpmodel.conf"))}
    told = re.search(r"NV Power Mode: *(\S+)", ask(["nvpmodel", "-q"]).out)
    if told:
        return told.group(1), modes
    # Asking may be root's alone; what was chosen last is written down for all to read.
    kept = re.search(r"pmode:(\d+)", text_of(root, "var/lib/nvpmodel/status"))
    return (modes.get(int(kept.group(1)), "") if kept else ""), modes


def clocks(root="/"):
    """((lowest, highest) MHz that the CPU's clocks may take, the same of the GPU); () where not told."""
    gpus = [path for path in _glob(root, "sys/class/devfreq/*") if GPU.search(path)]
    cpus = _glob(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    return _span(cpus, "scaling_{}_freq", 1000), _span(gpus, "{}_freq", 10**6)


def _span(folders, file, unit):
    rows = [[text_of(folder, file.format(end)).strip() for end in ("min", "max")] for folder in folders]
    read = [(int(low) // unit, int(high) // unit) for low, high in rows if low.isdigit() and high.isdigit()]
    return (min(low for low, _ in read), max(high for _, high in read)) if read else ()


def _memory(root):
    rows = dict(re.findall(r"^(\w+):\s+(\d+) kB", text_of(root, "proc/meminfo"), re.MULTILINE))
    swap = zram = 0
    for line in text_of(root, "proc/swaps").split("\n")[1:]:
        words = line.split()
        if len(words) >= 4 and "zram" in words[0]:
            zram += int(words[2]) // 1024
        elif len(words) >= 4:
            swap += (int(words[2]) - int(words[3])) // 1024
    return Memory(int(rows.get("MemTotal", 0)) // 1024, int(rows.get("MemAvailable", 0)) // 1024, swap, zram)


def _cameras(root):
    devices = [os.path.basename(path) for path in _glob(root, "dev/video[0-9]*")]
    devices.sort(key=lambda name: int(name[len("video") :]))
    return [("/dev/" + name, text_of(root, "sys/class/video4linux/{}/name".format(name)).strip()) for name in devices]


def _vectors(root):
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text_of(root, "proc/cpuinfo"), re.MULTILINE)
    words = set(found.group(1).split()) if found else set()
    return tuple(name for name in VECTORS if name in words)


def _glob(root, pattern):
    return sorted(glob.glob(os.path.join(glob.escape(str(root)), pattern)))
