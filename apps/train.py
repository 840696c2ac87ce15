"""``edge-mpq train``: train a model for one of several tasks, in mixed precision, on one machine or many."""

import argparse
import importlib

# A task is a function of a module, which takes argv.
TASKS = {
    "classify": ("apps.train_classify", "main", "pictures into classes, in floating point or by a plan"),
    "wildfire-classify": ("apps.wildfire.train_model", "classify", "fire or no fire in a picture"),
    "wildfire-segment": ("apps.wildfire.train_model", "segment", "fire pixel by pixel"),
    "wildfire-table": ("apps.wildfire.train_table", "main", "one wildfire model in float, AMP, PTQ and QAT, compared"),
}


def main(argv: list[str]) -> int:
    """Run the verb."""
    width = max(map(len, TASKS))
    rows = "\n".join(f"  {task.ljust(width)}  {line}" for task, (*_, line) in TASKS.items())
    parser = argparse.ArgumentParser(
        prog="edge-mpq train",
        usage="edge-mpq train TASK [options]",
        description=__doc__.split(": ", 1)[1],
        epilog=f"tasks:\n{rows}\n\nedge-mpq train TASK --help tells the options of a task.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", metavar="TASK", choices=TASKS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv[:1])
    module, function, _ = TASKS[args.task]
    return getattr(importlib.import_module(module), function)(argv[1:])
