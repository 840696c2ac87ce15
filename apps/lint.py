"""``edge-mpq lint``: what the engine of a target would refuse, misread or run slowly in an ONNX.

``--fix`` mends what can be mended without the float model.
"""

import argparse

from apps.terminal import finish, say
from edge_mpq.records import target as targets


def main(argv: list[str]) -> int:
    """Run the verb: 0 where nothing is refused or wrong, 1 else."""
    parser = argparse.ArgumentParser(
        prog="edge-mpq lint", description="Say what the engine of a target would refuse, misread or run slowly."
    )
    parser.add_argument("model", metavar="MODEL.onnx", help="any ONNX, quantized by whomever")
    parser.add_argument("--target", required=True, metavar="T", help=", ".join(targets.names()))
    parser.add_argument("--fix", metavar="OUT.onnx", help="mend what can be mended and write the model there")
    parser.add_argument("--json", action="store_true", help="one line of results on stdout")
    args = parser.parse_args(argv)

    from export import lint_onnx
    from export.lint.finding import FAILING, SEVERITIES, Finding

    target = targets.get(args.target)
    model = lint_onnx.read(args.model)
    fixed: list[Finding] = []
    if args.fix:
        model, fixed = lint_onnx.fix(model, target)
        lint_onnx.write(args.fix, model)
    findings = lint_onnx.check(model, target)
    for finding in fixed:
        say(f"mended: {finding.rule} {finding.node}")
    for finding in findings:
        say(lint_onnx.shown(finding))
    counts = {name: sum(finding.severity == name for finding in findings) for name in SEVERITIES}
    say(f"{args.fix or args.model} on {target.name}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    rows = [finding._asdict() for finding in findings]
    finish({"target": target.name, "findings": rows, "fixed": [row._asdict() for row in fixed], **counts}, args.json)
    return 1 if any(counts[name] for name in FAILING) else 0
