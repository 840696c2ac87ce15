"""Five machines written down: the files that are read on them, and what their programs answer.

Put together from what owners of such boards have published (release lines, rails and their
readings, device trees); none was at hand here.
"""

import json
from pathlib import Path
from typing import NamedTuple

from apps.doctor_facts import PROBE, Told


class Board(NamedTuple):
    """files: path -> text.  answers: words of a command, joined -> Told.  python: its own."""

    machine: str
    files: dict[str, str]
    answers: dict[str, Told]
    python: tuple[int, int, int]

    def write(self, root: Path) -> Path:
        """Lay the files out under ``root``."""
        for path, text in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    def ask(self, words: list[str]) -> Told:
        """Answer as the board would; a program it does not have does not start."""
        if words[1:3] == ["-c", PROBE]:
            lacking = f"Traceback (most recent call last):\nModuleNotFoundError: No module named '{words[3]}'\n"
            return self.answers.get("import " + words[3], Told(1, "", lacking))
        if words[0] == "dpkg-query":
            return self.answers.get("dpkg", Told(None))
        return self.answers.get(" ".join(words[:3]), Told(None))


def module(version: str, path: str, **more: bool) -> Told:
    """The answer of a module that imports."""
    return Told(0, json.dumps({"version": version, "path": path, **more}) + "\n")


def dpkg(**versions: str) -> Told:
    """The answer of dpkg-query; ``_`` stands for ``-``."""
    rows = [f"{name.replace('_', '-')} {version} ii \n" for name, version in versions.items()]
    return Told(0 if rows else 1, "".join(rows))


def memory(total: int, available: int, zram: int = 0, swap_file: int = 0) -> dict[str, str]:
    """/proc/meminfo and /proc/swaps, all in kB."""
    swaps = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"
    swaps += f"/dev/zram0                              partition\t{zram}\t0\t5\n" if zram else ""
    swaps += f"/swapfile                               file\t\t{swap_file}\t1024\t-2\n" if swap_file else ""
    info = f"MemTotal:        {total} kB\nMemFree:          300000 kB\nMemAvailable:    {available} kB\n"
    return {"proc/meminfo": info, "proc/swaps": swaps}


def clocks(cpu: tuple[int, int], gpu: str, gpu_hz: tuple[int, int]) -> dict[str, str]:
    """CPU (kHz) and GPU (Hz) clocks: (min, max)."""
    cpufreq, devfreq = "sys/devices/system/cpu/cpu0/cpufreq/scaling_{}_freq", "sys/class/devfreq/" + gpu + "/{}_freq"
    rows = [(cpufreq, *cpu), (devfreq, *gpu_hz)]
    return {path.format(end): f"{value}\n" for path, low, high in rows for end, value in (("min", low), ("max", high))}


def zone(number: int, name: str, millidegrees: int) -> dict[str, str]:
    """A thermal zone."""
    home = f"sys/class/thermal/thermal_zone{number}/"
    return {home + "type": name + "\n", home + "temp": f"{millidegrees}\n"}


def iio(rails: dict[str, int]) -> dict[str, str]:
    """An INA3221 of JetPack 4: rail -> mW."""
    home = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"
    files = {}
    for number, (name, milliwatts) in enumerate(rails.items()):
        files[f"{home}rail_name_{number}"] = name + "\n"
        files[f"{home}in_power{number}_input"] = f"{milliwatts}\n"
    return files


def ina3221(hwmon: int, rails: list[tuple[str, int, int]]) -> dict[str, str]:
    """An INA3221 of JetPack 5 and later: (label, mV, mA) of its channels, and its shunt voltages."""
    home = f"sys/class/hwmon/hwmon{hwmon}/"
    files = {home + "name": "ina3221\n", home + "in7_label": "sum of shunt voltages\n", home + "in7_input": "8080\n"}
    for number, (label, millivolts, milliamperes) in enumerate(rails, 1):
        files[f"{home}in{number}_label"] = label + "\n"
        files[f"{home}in{number}_input"] = f"{millivolts}\n"
        files[f"{home}curr{number}_input"] = f"{milliamperes}\n"
        files[f"{home}in{number + 3}_input"] = "40\n"
    return files


def _jetson(release: str, model: str, compatible: str) -> dict[str, str]:
    return {
        "etc/nv_tegra_release": release + "\n",
        "proc/device-tree/model": model + "\0",
        "proc/device-tree/compatible": compatible.replace(" ", "\0") + "\0",
    }


GSTREAMER = {
    "gst-launch-1.0 --version": Told(0, "gst-launch-1.0 version 1.14.5\n"),
    **{f"gst-inspect-1.0 --exists {name}": Told(0) for name in ("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder")},
}
ARGUS = {"systemctl is-active nvargus-daemon": Told(0, "active\n")}
DIST = "/usr/lib/python3/dist-packages/"

NANO = Board(
    "aarch64",
    {
        **_jetson(
            "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64, "
            "DATE: Sat Feb 19 17:05:08 UTC 2022",
            "NVIDIA Jetson Nano Developer Kit",
            "nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,jetson-nano nvidia,tegra210",
        ),
        "usr/local/cuda/version.txt": "CUDA Version 10.2.300\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=5W >\n",
        "dev/video0": "",
        "sys/class/video4linux/video0/name": "vi-output, imx219 7-0010\n",
        **memory(4059712, 2900000, zram=2029856),
        **clocks((102000, 1479000), "57000000.gpu", (76800000, 921600000)),
        **iio({"POM_5V_IN": 2043, "POM_5V_GPU": 84, "POM_5V_CPU": 465}),
        **zone(0, "AO-therm", 36500), **zone(1, "CPU-therm", 29000), **zone(2, "GPU-therm", 27500),
        **zone(4, "PMIC-Die", 100000),
    },
    {
        "import numpy": module("1.13.3", DIST + "numpy/__init__.py"),
        "import cv2": module("4.1.1", "/usr/lib/python3.6/dist-packages/cv2/__init__.py", gstreamer=True),
        "import tensorrt": module("8.2.1.8", "/usr/lib/python3.6/dist-packages/tensorrt/__init__.py"),
        "dpkg": dpkg(nvidia_l4t_core="32.7.1-20220219090432", python3_libnvinfer="8.2.1-1+cuda10.2",
                     libopencv_python="4.1.1-2-gd5a58aa75"),
        "nvpmodel -q": Told(0, "NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n"),
        **GSTREAMER, **ARGUS,
    },
    (3, 6, 9),
)  # fmt: skip
XAVIER_NX = Board(
    "aarch64",
    {
        **_jetson(
            "# R35 (release), REVISION: 2.1, GCID: 32398013, BOARD: t186ref, EABI: aarch64, "
            "DATE: Sun Jan 22 03:18:23 UTC 2023",
            "NVIDIA Jetson Xavier NX Developer Kit",
            "nvidia,p3509-0000+p3668-0000 nvidia,tegra194",
        ),
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "11.4.19"}}',
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MODE_15W_2CORE >\n< POWER_MODEL ID=8 NAME=MODE_20W_6CORE >\n",
        "var/lib/nvpmodel/status": "pmode:0008",
        **memory(6828324, 4800000, zram=3414160),
        **clocks((1190400, 1907200), "17000000.gv11b", (114750000, 1109250000)),
        **ina3221(5, [("VDD_IN", 4960, 1064), ("VDD_CPU_GPU_CV", 4960, 152), ("VDD_SOC", 4960, 264)]),
        **zone(0, "CPU-therm", 38500), **zone(1, "GPU-therm", 37500),
    },
    {
        "import numpy": module("1.24.4", "/usr/local/lib/python3.8/dist-packages/numpy/__init__.py"),
        "import cv2": module("4.8.1", "/usr/local/lib/python3.8/dist-packages/cv2/__init__.py", gstreamer=False),
        "import tensorrt": module("8.5.2.2", "/usr/lib/python3.8/dist-packages/tensorrt/__init__.py"),
        "dpkg": dpkg(nvidia_jetpack="5.1-b147", libopencv_python="4.5.4-8-g3e4c170df4", python3_libnvinfer="8.5.2-1"),
        # The number alone, as where only root may ask.
        "nvpmodel -q": Told(1, "", "NVPM ERROR: no root permission\n"),
        "systemctl is-active nvargus-daemon": Told(3, "failed\n"),
        "gst-launch-1.0 --version": Told(0, "gst-launch-1.0 version 1.16.3\n"),
        "gst-inspect-1.0 --exists nvvidconv": Told(0),
    },
    (3, 8, 10),
)  # fmt: skip
AGX_ORIN = Board(
    "aarch64",
    {
        **_jetson(
            "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
            "DATE: Wed Jan  8 01:49:37 UTC 2025",
            "NVIDIA Jetson AGX Orin Developer Kit",
            "nvidia,p3737-0000+p3701-0005 nvidia,p3701-0005 nvidia,tegra234",
        ),
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=3 NAME=MODE_50W >\n",
        "dev/video0": "", "dev/video10": "", "dev/video2": "",
        "sys/class/video4linux/video2/name": "HD Pro Webcam C920\n",
        **memory(64341000, 58000000),
        **clocks((2201600, 2201600), "17000000.gpu", (1300500000, 1300500000)),
        **ina3221(3, [("VDD_GPU_SOC", 18792, 140), ("VDD_CPU_CV", 18784, 20), ("VIN_SYS_5V0", 4968, 980)]),
        **ina3221(4, [("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 4968, 80), ("NC", 0, 0)]),
        **zone(0, "cpu-thermal", 51187), **zone(1, "cv0-thermal", -256000), **zone(8, "tj-thermal", 53500),
    },
    {
        "import numpy": module("1.26.4", "/usr/local/lib/python3.10/dist-packages/numpy/__init__.py"),
        "import cv2": module("4.8.0", "/usr/lib/python3.10/dist-packages/cv2/__init__.py", gstreamer=True),
        "import tensorrt": module("10.3.0", "/usr/lib/python3.10/dist-packages/tensorrt/__init__.py"),
        "dpkg": dpkg(nvidia_jetpack="6.2+b77", python3_libnvinfer="10.3.0.30-1+cuda12.5"),
        "nvpmodel -q": Told(0, "NV Power Mode: MODE_50W\n3\n"),
        **GSTREAMER, **ARGUS,
    },
    (3, 10, 12),
)  # fmt: skip
THOR = Board(
    "aarch64",
    {
        **_jetson(
            "# R38 (release), REVISION: 2.2, GCID: 42205042, BOARD: generic, EABI: aarch64, "
            "DATE: Thu Sep 25 22:47:11 UTC 2025",
            "NVIDIA Jetson AGX Thor Developer Kit",
            "nvidia,p4071-0000+p3834-0008 nvidia,p3834-0008 nvidia,tegra264",
        ),
        "usr/local/cuda-13.0/README": "",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n",
        **memory(128845000, 120000000),
        **clocks((54000, 2601000), "gpu-gpc-0", (315000000, 1575000000)),
        **ina3221(2, [("VDD_GPU", 12040, 640), ("VDD_CPU_SOC_MSS", 12040, 960), ("VIN_SYS_5V0", 5088, 1740)]),
        "sys/class/hwmon/hwmon5/name": "ina238\n", "sys/class/hwmon/hwmon5/power1_input": "31800000\n",
        **zone(0, "tj-thermal", 45281),
    },
    {
        "import numpy": module("1.26.4", DIST + "numpy/__init__.py"),
        "dpkg": dpkg(nvidia_l4t_core="38.2.2-20250925153837", python3_libnvinfer="10.13.3.9-1+cuda13.0"),
        "nvpmodel -q": Told(0, "NV Power Mode: MAXN\n0\n"),
        **GSTREAMER, **ARGUS,
    },
    (3, 12, 3),
)  # fmt: skip
COMPUTER = Board(
    "x86_64",
    {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu sse avx2 avx512f avx512_vnni\n",
        **memory(24000000, 22000000),
    },
    {
        "import numpy": module("2.4.6", "/venv/lib/python3.11/site-packages/numpy/__init__.py"),
        "import cv2": module("5.0.0", "/venv/lib/python3.11/site-packages/cv2/__init__.py", gstreamer=False),
        "import onnxruntime": module("1.32.0", "/venv/lib/python3.11/site-packages/onnxruntime/__init__.py"),
        "dpkg": Told(1, "", "dpkg-query: no packages found\n"),
    },
    (3, 11, 7),
)
BOARDS = {"nano": NANO, "xavier-nx": XAVIER_NX, "agx-orin": AGX_ORIN, "thor": THOR, "computer": COMPUTER}
