"""Whether a bundle was made for this machine."""

from edge_mpq.records import target as target_record

MEND = "quantize for this board, or give --backend to run it here all the same"


def board_fault(target, machine, jetson):
    """Why this machine is not the board ``target`` stands for, or ''.

    machine: ``aarch64``.  jetson: the Jetson it is, or None.  A Jetson is told by its GPU's
    compute capability, which is what plans and graphs are made for; one whose chip cannot be
    read is taken to be the right one.
    """
    here = jetson.model if jetson else "a computer with a {} processor".format(machine)
    for_arm, for_x86 = target.name.endswith("-arm64"), "x86" in target.name.split("-")
    right = True
    if target.name.startswith("jetson-"):
        wanted, capability = target.compute_capability, jetson.capability if jetson else ""
        if capability and capability != wanted:
            here = "{} with {}".format(here, capability)
        right = jetson is not None and capability in ("", wanted)
    elif for_arm or for_x86:
        right = machine in (("aarch64", "arm64") if for_arm else ("x86_64", "AMD64"))
    if right:
        return ""
    gpu = " (compute capability {})".format(target.compute_capability) if jetson and target.compute_capability else ""
    return "the bundle is for {}{}, this is {}".format(target.name, gpu, here)


def tensorrt_fault(target, version):
    """Why TensorRT ``version`` ('': none) cannot build what was made for ``target``, or ''."""
    have = version_of(version)
    if target.backend != "tensorrt" or not have:
        return ""
    newest = target_record.newest_opset(have)
    if target.opset > newest:
        return "TensorRT {} here is older: it reads opset {}, the ONNX is of {}".format(version, newest, target.opset)
    if target.dialect == "weak" and have >= (11, 0):
        return "its precision is said in hints, TensorRT {} here takes typed graphs only".format(version)
    return ""


def version_of(text):
    """(8, 2) of ``8.2.1.9``, () where there is none."""
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts) if len(parts) == 2 and all(part.isdigit() for part in parts) else ()
