"""What the facts of a machine mean for running engines on it: one line a thing, with the mend.

Pure: the same facts give the same findings.
"""

import re
from typing import NamedTuple

from apps import bundle_fit
from apps.stream import jetson

OK, MISSING, WRONG = "ok", "missing", "wrong"
# What a build needs beside the weights: the libraries and their kernels, and the workspace.
# An estimate on the safe side, after reports of builds on a Nano of 4 GB that were killed.
LIBRARIES_MIB, WORKSPACE_MIB = 1024, 256
# The float weights are there as read, as parsed, as tried and as written.
COPIES_OF_WEIGHTS = 4
SWAP_FILE = (
    "sudo fallocate -l 4G /swapfile; sudo chmod 600 /swapfile; sudo mkswap /swapfile; sudo swapon /swapfile; "
    "sudo systemctl isolate multi-user.target stops the desktop"
)


class Finding(NamedTuple):
    """name: of what.  state: ``ok``, ``missing`` or ``wrong``.  found: what is there.  mend: what to do, or advice."""

    name: str
    state: str
    found: str
    mend: str = ""


# What engines of a processor need, and for what.
ENGINES = (
    ("onnxruntime", "to run engines on this processor"),
    ("onnx", "by which engines of onnxruntime know the names of layers"),
    ("openvino", "to run engines on this processor"),
)


def needed_mib(model_bytes):
    """MiB of memory that building an engine of a model of ``model_bytes`` (as float) is expected to take."""
    return LIBRARIES_MIB + WORKSPACE_MIB + COPIES_OF_WEIGHTS * model_bytes // 2**20


def findings(facts, target=None, model_bytes=0):
    """[Finding] of ``facts``; for the board ``target`` and a model of ``model_bytes`` where they are known."""
    common = [_board(facts), _python(facts), _numpy(facts), _opencv(facts)]
    if facts.jetson is not None:
        found = common[:1] + [_jetpack(facts)] + common[1:] + [_cuda(facts), _tensorrt(facts)]
        found += [_power(facts), _clocks(facts), _memory(facts, model_bytes), _argus(facts), _gstreamer(facts)]
    else:
        found = common + [_gpu(facts), _cuda(facts), _tensorrt(facts)]
        found += [_library(facts, name, why) for name, why in ENGINES] + [_vectors(facts)]
    found.append(_cameras(facts))
    if target is not None:
        found.append(_bundle(facts, target))
    return found


def _board(facts):
    if facts.jetson is None:
        return Finding("board", OK, "{}, no Jetson".format(facts.machine))
    known = "compute capability " + facts.jetson.capability if facts.jetson.capability else "a chip not known here"
    return Finding("board", OK, "{} ({}, {})".format(facts.jetson.model, facts.jetson.chip or "chip not told", known))


def _jetpack(facts):
    l4t = ".".join(map(str, facts.jetson.l4t))
    if not l4t:
        mend = "in a container mount it: -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro"
        return Finding("JetPack", MISSING, "no /etc/nv_tegra_release and no package nvidia-l4t-core", mend)
    if not facts.jetson.jetpack:
        newer = facts.jetson.l4t > max(jetson.JETPACKS)
        mend = "a newer edge-mpq may know it" if newer else "flash a JetPack from 4.6 on"
        return Finding("JetPack", WRONG, "L4T {}, which is not known here".format(l4t), mend)
    text = "{} (L4T {})".format(facts.jetson.jetpack, l4t)
    if facts.jetson.l4t < (32, 6):
        return Finding("JetPack", WRONG, text + ", with TensorRT 7", "flash JetPack 4.6 or later")
    if "nvidia-jetpack" not in facts.packages:
        return Finding("JetPack", OK, text, "if anything of it is missing: sudo apt install nvidia-jetpack")
    return Finding("JetPack", OK, text)


def _python(facts):
    version = ".".join(map(str, facts.python))
    if facts.python < (3, 6):
        return Finding("Python", WRONG, "{} ({})".format(version, facts.executable), "run with python3, 3.6 or later")
    return Finding("Python", OK, "{} ({})".format(version, facts.executable))


def _numpy(facts):
    module = facts.modules["numpy"]
    if not module.problem:
        return Finding("numpy", OK, module.version)
    if "signal 4" in module.problem:
        # numpy 1.19.5 picks a kernel that the Nano's and TX2's cores do not run.
        return Finding("numpy", WRONG, module.problem, "export OPENBLAS_CORETYPE=ARMV8")
    return Finding("numpy", MISSING, module.problem, "sudo apt install python3-numpy")


def _opencv(facts):
    module = facts.modules["cv2"]
    if module.problem:
        mend = "pip install opencv-python-headless"
        if facts.jetson is not None:
            mend = "sudo apt install python3-opencv"
        early = re.search(r"(/\S+): cannot allocate memory in static TLS block", module.problem)
        if early:
            mend = "export LD_PRELOAD={}".format(early.group(1))
        state = MISSING if module.problem == "not installed" else WRONG
        return Finding("OpenCV", state, module.problem, mend)
    text = "{} {} GStreamer ({})".format(module.version, "with" if module.gstreamer else "without", module.path)
    if facts.jetson is None or module.gstreamer:
        return Finding("OpenCV", OK, text)
    if "libopencv-python" in facts.packages or "python3-opencv" in facts.packages:
        mend = "pip3 uninstall opencv-python opencv-python-headless opencv-contrib-python: it hides JetPack's own"
    else:
        mend = "sudo apt install python3-opencv"
    return Finding("OpenCV", WRONG, text, mend)


def _gpu(facts):
    if facts.gpu:
        return Finding("NVIDIA GPU", OK, facts.gpu)
    return Finding("NVIDIA GPU", MISSING, "nvidia-smi is not there or sees none", "TensorRT needs one, and its driver")


def _cuda(facts):
    if facts.cuda:
        return Finding("CUDA", OK, facts.cuda)
    mend = "sudo apt install nvidia-jetpack" if facts.jetson else "install the CUDA toolkit, to run TensorRT here"
    return Finding("CUDA", MISSING, "no /usr/local/cuda", mend)


def _tensorrt(facts):
    module = facts.modules["tensorrt"]
    if not module.problem:
        if bundle_fit.version_of(module.version) < (8, 0):
            return Finding("TensorRT", WRONG, module.version, "8.0 or later is needed: flash JetPack 4.6 or later")
        return Finding("TensorRT", OK, "{} ({})".format(module.version, module.path))
    if facts.jetson is None:
        lacks = ["Python's module tensorrt ({})".format(module.problem)]
        lacks += [] if facts.gpu else ["an NVIDIA GPU with its driver"]
        lacks += [] if facts.cuda else ["CUDA"]
        mend = "engines for a Jetson are built on the Jetson; here run with --backend onnxruntime"
        return Finding("TensorRT", MISSING, "lacking for it here: " + ", ".join(lacks), mend)
    if module.problem != "not installed":
        return Finding("TensorRT", WRONG, module.problem, "sudo apt install --reinstall python3-libnvinfer")
    if "python3-libnvinfer" in facts.packages:
        text = "installed for JetPack's own Python, not for {}".format(facts.executable)
        mend = "run with /usr/bin/python3, or in a venv made with --system-site-packages"
        return Finding("TensorRT", WRONG, text, mend)
    return Finding("TensorRT", MISSING, "not installed", "sudo apt install python3-libnvinfer")


def _power(facts):
    if not facts.power_mode:
        return Finding("power mode", MISSING, "nvpmodel does not tell it", "sudo nvpmodel -q")
    fastest = [number for number, name in sorted(facts.power_modes.items()) if name.startswith("MAXN")]
    if facts.power_mode.startswith("MAXN") or not fastest:
        return Finding("power mode", OK, facts.power_mode)
    name = facts.power_modes[fastest[-1]]
    return Finding("power mode", OK, facts.power_mode, "sudo nvpmodel -m {} is faster ({})".format(fastest[-1], name))


def _clocks(facts):
    told = [(name, mhz) for name, mhz in (("CPU", facts.cpu_mhz), ("GPU", facts.gpu_mhz)) if mhz]
    if not told:
        return Finding("clocks", MISSING, "not told by this system", "sudo jetson_clocks --show")
    text = ", ".join("{} {} to {} MHz".format(name, *mhz) for name, mhz in told)
    if all(low == high for _, (low, high) in told):
        return Finding("clocks", OK, text + ", fixed")
    return Finding("clocks", OK, text + ", as the load asks", "sudo jetson_clocks fixes them; do so to measure")


def _memory(facts, model_bytes):
    memory, needed = facts.memory, needed_mib(model_bytes)
    text = "{} of {} MiB free, {} MiB of swap on disk; a build takes about {} MiB".format(
        memory.available, memory.total, memory.swap, needed
    )
    if memory.available >= needed:
        return Finding("memory", OK, text)
    if memory.available + memory.swap >= needed:
        return Finding("memory", OK, text, "the build will swap and be slow; close what is open")
    return Finding("memory", WRONG, text, SWAP_FILE)


def _argus(facts):
    if facts.argus == "active":
        return Finding("nvargus-daemon", OK, "active")
    mend = "sudo systemctl restart nvargus-daemon; CSI cameras need it"
    return Finding("nvargus-daemon", WRONG, facts.argus or "no answer", mend)


def _gstreamer(facts):
    if not facts.gst_launch:
        return Finding("GStreamer", MISSING, "no gst-launch-1.0", "sudo apt install gstreamer1.0-tools")
    lacking = [name for name in ("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder") if name not in facts.elements]
    if lacking:
        mend = "sudo apt install nvidia-l4t-gstreamer; rm -rf ~/.cache/gstreamer-1.0"
        return Finding("GStreamer", WRONG, "without " + ", ".join(lacking), mend)
    return Finding("GStreamer", OK, "with NVIDIA's elements")


def _cameras(facts):
    if not facts.cameras:
        return Finding("cameras", MISSING, "no /dev/video*", "connect one, or use a file, rtsp:// or synthetic")
    return Finding("cameras", OK, ", ".join("{} ({})".format(*camera) for camera in facts.cameras))


def _library(facts, name, why):
    module = facts.modules[name]
    if module.problem:
        mend = "pip install {}, {}".format(name, why)
        return Finding(name, MISSING if module.problem == "not installed" else WRONG, module.problem, mend)
    return Finding(name, OK, module.version)


def _vectors(facts):
    fast = [name for name in facts.vectors if "vnni" in name or name in ("amx_int8", "asimddp", "i8mm")]
    text = " ".join(facts.vectors) or "not told"
    if fast:
        return Finding("int8 instructions", OK, text)
    return Finding("int8 instructions", MISSING, text, "int8 engines run here, but hardly faster than float")


def _bundle(facts, target):
    title = "made for {}".format(target.title)
    fault = bundle_fit.board_fault(target, facts.machine, facts.jetson)
    if fault:
        return Finding("bundle", WRONG, fault, bundle_fit.MEND)
    fault = bundle_fit.tensorrt_fault(target, facts.modules["tensorrt"].version)
    mend = "quantize with a --target of this JetPack, or flash the one of the target"
    return Finding("bundle", WRONG, "{}: {}".format(title, fault), mend) if fault else Finding("bundle", OK, title)
