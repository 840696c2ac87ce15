"""``edge-mpq doctor``: what this machine has for running engines, what it lacks, and the mend.

Changes nothing and asks nothing of the network.  With a bundle it also says whether the
bundle is for this board and whether there is memory to build its engines.
"""

import argparse
import json
import os
import sys

from apps import doctor_facts, doctor_findings
from edge_mpq.records import bundle as bundle_record
from edge_mpq.records import target as target_record

# The model whose weights are counted: the float one is the largest.
COUNTED = ("fp32", "model")


def report(facts, target=None, model_bytes=0):
    """The findings of ``facts`` as a dict of JSON values."""
    found = doctor_findings.findings(facts, target, model_bytes)
    return {
        "findings": [finding._asdict() for finding in found],
        "needed_mib": doctor_findings.needed_mib(model_bytes),
        "missing": [finding.name for finding in found if finding.state == doctor_findings.MISSING],
        "wrong": [finding.name for finding in found if finding.state == doctor_findings.WRONG],
    }


def text(found):
    """The findings of a report, a line each and one for the mend."""
    width = max(len(finding["name"]) for finding in found["findings"])
    lines = []
    for finding in found["findings"]:
        lines.append("{:7s}  {}  {}".format(finding["state"], finding["name"].ljust(width), finding["found"]))
        if finding["mend"]:
            lines.append(" " * (11 + width) + "-> " + finding["mend"])
    return "\n".join(lines)


def examine(as_json, target=None, model_bytes=0):
    """Look at this machine, and tell."""
    found = report(doctor_facts.gather(), target, model_bytes)
    sys.stdout.write((json.dumps(found) if as_json else text(found)) + "\n")
    return 0


def parser(prog, with_bundle):
    """The options of the verb."""
    made = argparse.ArgumentParser(prog=prog, description="What this machine has for running engines, and lacks.")
    if with_bundle:
        made.add_argument("bundle", metavar="DIR", nargs="?", help="a bundle that is to run here")
    made.add_argument("--json", action="store_true", help="print the findings as one line")
    return made


def main(argv):
    """Run the verb; 0 whatever it finds."""
    args = parser("edge-mpq doctor", True).parse_args(argv)
    if args.bundle is None:
        return examine(args.json)
    bundle = bundle_record.open_folder(args.bundle)
    sizes = [os.path.getsize(os.path.join(args.bundle, bundle.files[role])) for role in COUNTED if role in bundle.files]
    return examine(args.json, target_record.get(bundle.target), max(sizes, default=0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
