"""``edge-mpq plan``: choose each layer's formats within a budget and write plan.json."""

import argparse

from apps import arguments
from apps.terminal import bar, finish, say


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="edge-mpq plan", description=__doc__.split(": ", 1)[1])
    arguments.add_model(parser)
    arguments.add_data(parser)
    arguments.add_plan(parser)
    parser.add_argument("--out", default="plan.json", metavar="FILE", help="where to write the plan (plan.json)")
    arguments.add_json(parser)
    args = parser.parse_args(argv)
    arguments.check_plan(args)

    import edge_mpq
    from apps import half
    from apps.work import work_of
    from edge_mpq import transforms
    from edge_mpq.records import plan as plans
    from edge_mpq.simulation import prepared

    work = work_of(args)
    graph = prepared(work.model, work.example)
    graph = transforms.apply_all(args.transform, graph, work.calibration, work.target, bar)
    keep = half.harmed(graph, work.target, work.calibration, bar)
    for name, why in keep.items():
        say(f"{name} stays in fp32: {why}")
    made = edge_mpq.plan(
        graph,
        work.example,
        work.calibration,
        target=work.target,
        budget=args.budget,
        sensitivity=args.sensitivity,
        allocator=args.allocator,
        formats=args.formats,
        validation=work.validation() if "drop" in (args.budget or "") else None,
        observer=args.observer,
        transforms=args.transform,
        keep=keep,
        rounding=args.rounding,
        progress=bar,
    )
    plans.save(args.out, made)
    for name, choice in made.choices.items():
        say(f"{plans.describe(choice):>6}  {name}  ({choice.why})")
    if args.budget is None:
        say(f"no --budget: {made.budget}, what 8-bit weights come to here")
    say(f"{made.predicted['weight_bits']:.2f} bits a weight, {made.predicted['size_mib']:.3f} MiB: {args.out}")
    return finish({"plan": args.out, **made.predicted}, args.json)
