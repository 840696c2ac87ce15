"""``edge-mpq bench``: accuracy, agreement, size and speed of a bundle's engines, in one interleaved run."""

import argparse
import os
import shlex
from datetime import datetime, timezone

from apps import arguments
from apps.stream.options import above_zero
from apps.terminal import finish, say
from edge_mpq.records import bundle as bundles
from edge_mpq.records import plan as plans
from edge_mpq.records import report as reports
from edge_mpq.records.bundle import Bundle
from edge_mpq.records.report import RunReport
from edge_mpq.report import files, text


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="edge-mpq bench", description=__doc__.split(": ", 1)[1])
    parser.add_argument("bundle", metavar="DIR", help="a folder written by edge-mpq quantize or export")
    parser.add_argument("--data", required=True, metavar="D", help="data whose test pictures are answered")
    parser.add_argument("--backend", metavar="B", help="another backend than the target's, such as onnxruntime")
    parser.add_argument("--threads", type=above_zero(int), default=1, metavar="N", help="threads of the engine (1)")
    parser.add_argument(
        "--rounds", type=above_zero(int), default=40, metavar="N", help="turns of 25 calls each engine is timed (40)"
    )
    arguments.add_json(parser)
    args = parser.parse_args(argv)

    import numpy as np

    from apps import disagreements, measure
    from apps.board_bench import planned_rows
    from apps.data.batches import batches
    from apps.data.masks import truth_of
    from apps.data.opening import check_classes, open_data
    from edge_mpq.engines import inputs

    bundle = bundles.open_folder(args.bundle)
    before = _before(args.bundle, bundle)
    data = open_data(args.data, bundle.task)
    check_classes(data, args.data, bundle.classes)
    recipe = inputs.from_json(bundle.recipe)
    truth = truth_of(data.test, recipe, bundle.task)
    pairs = list(batches(truth or data.test, recipe, 64))
    roles = {name: role for role, name in measure.VARIANTS.items()}
    rows = {roles[variant.name]: variant.layers for variant in before.variants}
    if "model" not in rows and "plan" in bundle.files:
        rows["model"] = planned_rows(plans.load(os.path.join(args.bundle, bundle.files["plan"])))
    engines = measure.open_all(args.bundle, bundle, args.backend, args.threads)
    labels = np.concatenate([labels for _, labels in pairs]) if truth is not None else None
    outputs = measure.outputs_of(engines, [values for values, _ in pairs])
    example = pairs[0][0][:1]
    made = measure.variants(args.bundle, bundle, engines, example, outputs, labels, rows, rounds=args.rounds)
    known = {variant.name: variant.simulated_agreement for variant in before.variants}
    made = [variant._replace(simulated_agreement=known.get(variant.name)) for variant in made]
    report = before._replace(
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        machine=measure.machine(args.threads),
        variants=made,
        facts={**before.facts, "test_pictures": len(data.test), "data": data.name},
        disagreements=disagreements.worst(
            data.test,
            range(len(data.test)),
            outputs["fp32"],
            outputs["model"],
            measure.VARIANTS["model"],
            truth is not None,
        ),
        commands=[*before.commands[:1], "edge-mpq bench " + shlex.join(argv)],
    )
    reports.save(files.located(args.bundle), report)
    say(text.summary(report))
    return finish({"bundle": args.bundle, "variants": measure.summaries(report)}, args.json)


def _before(folder: str, bundle: Bundle) -> RunReport:
    """The report that lies in the bundle, else an empty one: ``edge-mpq export`` measures nothing."""
    if files.located(folder).exists():
        return files.read(folder)
    return RunReport(f"{bundle.title} on {bundle.target}", created="", target=bundle.target, machine={})
