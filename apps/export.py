"""``edge-mpq export``: quantize a model by a plan that exists and write its bundle."""

import argparse
import os

from apps import arguments
from apps.terminal import bar, finish, say
from edge_mpq.records import document
from edge_mpq.records import plan as plans


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="edge-mpq export", description=__doc__.split(": ", 1)[1])
    arguments.add_model(parser)
    arguments.add_data(parser)
    parser.add_argument("--plan", required=True, metavar="FILE", help="a plan.json of edge-mpq plan")
    arguments.add_calibration(parser)
    parser.add_argument("--observer", default="mse", metavar="O", help="minmax, percentile, entropy or mse")
    parser.add_argument("--out", required=True, metavar="DIR", help="the bundle to write")
    parser.add_argument("--script", metavar="FILE", help="also write a trtexec script that builds the engine")
    arguments.add_json(parser)
    args = parser.parse_args(argv)

    import onnx

    import edge_mpq
    from apps.data.kept import keep_frames
    from apps.work import work_of
    from edge_mpq import graph as ir
    from edge_mpq import transforms
    from edge_mpq.simulation import prepared
    from export import bundle_from_torch, tensorrt_layers_from_onnx, trtexec_from_plan
    from export.bundle_from_torch import Quantized

    plan = plans.load(args.plan)
    bundle_from_torch.refuse_others(args.out, plan)
    args.target = plan.target
    work = work_of(args)
    graph = transforms.apply_all(
        plan.transforms, prepared(work.model, work.example), work.calibration, work.target, bar
    )
    model, ranges = edge_mpq.quantize(graph, plan, work.calibration, args.observer, progress=bar)
    task, form = bundle_from_torch.task_of(graph), Quantized(plan, model)
    bundle = bundle_from_torch.write(
        args.out, work.title, graph, form, None, work.target, ranges, work.recipe, work.data.classes, task
    )
    keep_frames(args.out, work.data.test)
    if args.script is not None:
        entry = ir.inputs(graph)
        shapes = {entry.name: ir.shape(entry)}
        layers = tensorrt_layers_from_onnx.layers(onnx.load(os.path.join(args.out, bundle.files["model"])))
        text = trtexec_from_plan.script(bundle.files["model"], plan, work.target, shapes=shapes, layers=layers)
        document.write_bytes(args.script, text.encode("utf-8"))
        os.chmod(args.script, 0o755)
        say(f"wrote {args.script}; run it in the bundle's folder, on the board")
    say(f"wrote {args.out}: " + ", ".join(sorted(bundle.files.values())))
    return finish({"bundle": args.out, "files": bundle.files, "sha256": bundle.sha256}, args.json)
