"""trtexec scripts: no flag that a version does not parse, and what the plan says in its words."""

import json
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq.engines import _tensorrt_precision as precision
from edge_mpq.errors import ExportError, PlanError
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.target import Target
from export import trtexec_from_plan as trtexec
from tests.shared import shared_file

VERSIONS = trtexec.table()[0]
BOARDS = [name for name in targets.names() if targets.get(name).backend == "tensorrt"]
# Flags of the safe builder stand in the same source.
OF_SAFETY = {("11.1", "--int8")}


def _plan(board: Target, *forms: str) -> PrecisionPlan:
    return PrecisionPlan("", board.name, {f"layer{i}.conv": Choice(form, form) for i, form in enumerate(forms)})


def _flags(text: str) -> dict[str, str]:
    """The flags of a script without dashes, as a shell would take them apart."""
    command = text[text.rindex('exec "') :].replace("\\\n", " ")
    words = shlex.split(command)[2:]
    assert all(word.startswith("--") for word in words)
    return dict(word[2:].partition("=")[::2] for word in words)


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("measure", [False, True])
def test_no_version_gets_a_flag_that_it_does_not_parse(version: str, measure: bool) -> None:
    # Flags beside those of the table end trtexec with an error.
    numbers = _version(version)
    dialect = "typed" if numbers >= (10, 12) else "weak"
    board = targets.get("jetson-thor")._replace(tensorrt=numbers, dialect=dialect)
    for forms in (("fp32",), ("fp16",), ("int8",), ("int8", "fp16"), ("int8", "fp16", "fp32"), ("fp16", "fp32")):
        text = trtexec.script("m.onnx", _plan(board, *forms), board, shapes={"x": (3, 8, 8)}, measure=measure)
        if "exit 1" in text:
            assert numbers < (8, 4) and "fp32" in forms and len(forms) > 1
            continue
        assert set(_flags(text)) <= trtexec.known(version)


@given(
    board=st.sampled_from(BOARDS),
    forms=st.lists(st.sampled_from(["fp32", "fp16", "int8"]), min_size=1, max_size=5),
    shapes=st.sampled_from([None, {"x": (3, 32, 32)}, {"a": (1,), "b": (3, 4)}]),
    measure=st.booleans(),
    prefer=st.booleans(),
)
def test_every_script_keeps_to_its_version(board, forms, shapes, measure, prefer) -> None:
    row = targets.get(board)
    forms = [form if form in row.activation_formats else "fp16" for form in forms]
    options = dict(shapes=shapes, measure=measure, prefer=prefer)
    text = trtexec.script("m.onnx", _plan(row, *forms), row, **options)
    if "exit 1" not in text:
        assert set(_flags(text)) <= trtexec.known(trtexec.column(row.tensorrt))


def test_weights_in_blocks_want_the_flags_of_the_build() -> None:
    """The network holds Q/DQ then, and a weakly typed one takes them with the flag for int8 alone."""
    orin = targets.get("jetson-orin-nano")
    plan = _plan(orin, "fp32")
    plan = plan._replace(choices={name: Choice("int4b64", "fp32") for name in plan.choices})
    assert {"int8", "fp16"} <= set(_flags(trtexec.script("m.onnx", plan, orin)))
    quantized = [precision.Layer("d", "DEQUANTIZE", (), ())]
    assert precision.flags(plan, quantized, orin, False) == ["INT8", "FP16"]


def test_the_table_is_that_of_the_sources() -> None:
    source = json.loads(shared_file("trt_api/trtexec_flags.json").read_text())
    assert list(source) == VERSIONS
    for version, flags in source.items():
        wanted = {flag.lstrip("-") for flag in flags if (version, flag) not in OF_SAFETY}
        assert trtexec.known(version) == wanted


def test_workspace_and_build_only_in_the_words_of_each_version() -> None:
    def flags(board: str) -> dict[str, str]:
        row = targets.get(board)
        return _flags(trtexec.script("m.onnx", _plan(row, "fp16"), row, shapes={"x": (3, 8, 8)}, workspace_mib=100))

    nano, xavier, orin, x86 = (
        flags(f"{name}") for name in ("jetson-nano", "jetson-xavier-nx", "jetson-orin-nano", "tensorrt-11-x86")
    )
    assert nano["workspace"] == "100" and "memPoolSize" not in nano and "explicitBatch" in nano
    for newer in (xavier, orin, x86):
        assert newer["memPoolSize"] == "workspace:100" and not {"workspace", "explicitBatch"} & set(newer)
    assert "buildOnly" in nano and "buildOnly" in xavier and "skipInference" in orin and "skipInference" in x86
    assert "fp16" in nano and "fp16" in orin and not {"fp16", "stronglyTyped", "precisionConstraints"} & set(x86)
    assert nano["minShapes"] == nano["maxShapes"] == "x:1x3x8x8"


def test_the_plan_is_said_layer_by_layer_where_the_version_can() -> None:
    orin = targets.get("jetson-orin-nano")
    flags = _flags(trtexec.script("m.onnx", _plan(orin, "int8", "fp16", "fp32"), orin))
    assert {"fp16", "int8", "noTF32"} <= set(flags)
    assert flags["precisionConstraints"] == "obey"
    assert flags["layerPrecisions"] == flags["layerOutputTypes"] == "layer1.conv:fp16,layer2.conv:fp32"
    assert (
        _flags(trtexec.script("m.onnx", _plan(orin, "fp16", "fp32"), orin, prefer=True))["precisionConstraints"]
        == "prefer"
    )
    plain = _flags(trtexec.script("m.onnx", _plan(orin, "fp32"), orin))
    assert not {"fp16", "int8", "layerPrecisions"} & set(plain)
    quantized = _flags(trtexec.script("m.onnx", _plan(orin, "int8"), orin))
    assert {"fp16", "int8"} <= set(quantized) and "layerPrecisions" not in quantized


def test_types_need_one_flag_on_10_and_none_on_11() -> None:
    for name, wanted in (("jetson-thor", True), ("tensorrt-11-x86", False)):
        row = targets.get(name)
        flags = _flags(trtexec.script("m.onnx", _plan(row, "int8", "fp16", "fp32"), row))
        assert ("stronglyTyped" in flags) == wanted
        assert not {"fp16", "int8", "bf16", "layerPrecisions", "precisionConstraints"} & set(flags)


def test_8_2_sends_a_mix_to_the_python_path_and_builds_nothing(tmp_path) -> None:
    nano = targets.get("jetson-nano")
    text = trtexec.script("m.onnx", _plan(nano, "fp16", "fp32"), nano)
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False, env={"TRTEXEC": "false"})
    assert done.returncode == 1 and "edge-mpq build" in done.stderr and "fp16 and fp32" in done.stderr


def test_the_shell_hands_every_argument_over_whole(tmp_path) -> None:
    orin = targets.get("jetson-orin-nano")
    show = tmp_path / "trtexec"
    show.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    show.chmod(0o755)
    odd = "my model's $HOME `id`\nx.onnx"
    text = trtexec.script(
        odd, _plan(orin, "fp16", "fp32"), orin, engine_name="a b.engine", shapes={"x": (3, 8, 8)}, measure=True
    )
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True, env={"TRTEXEC": str(show)})
    assert f"--onnx={odd}\n--saveEngine=a b.engine\n" in done.stdout
    assert "--exportProfile=a b.profile.json\n" in done.stdout and "--timingCacheFile=a b.timing\n" in done.stdout


def test_what_cannot_be_asked_is_refused() -> None:
    orin, nano = targets.get("jetson-orin-nano"), targets.get("jetson-nano")
    with pytest.raises(ExportError, match="cpu-arm64 has no trtexec"):
        cpu = targets.get("cpu-arm64")
        trtexec.script("m.onnx", _plan(cpu, "fp32"), cpu)
    with pytest.raises(PlanError, match="for jetson-nano, not jetson-orin-nano"):
        trtexec.script("m.onnx", _plan(nano, "fp16"), orin)
    with pytest.raises(PlanError, match="runs no int8"):
        trtexec.script("m.onnx", _plan(nano, "int8"), nano)
    with pytest.raises(ExportError, match="'a:b'"):
        trtexec.script("m.onnx", _plan(orin, "fp16")._replace(choices={"a:b": Choice("fp16", "fp16")}), orin)
    with pytest.raises(ExportError, match="no trtexec of TensorRT 7"):
        trtexec.column((7, 1, 3))


NEAREST = {"8.0.1": "8.0", "8.2.1": "8.2", "8.6.2": "8.6", "10.4.0": "10.3", "10.14.0": "10.13", "11.0.0": "11.1"}


@pytest.mark.parametrize("tensorrt", [*NEAREST, "11.4.1"])
def test_the_column_is_the_newest_that_is_not_newer(tensorrt: str) -> None:
    assert trtexec.column(tuple(int(part) for part in tensorrt.split("."))) == NEAREST.get(tensorrt, "11.1")
