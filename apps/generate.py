"""``edge-mpq generate``: a language model that writes text on ONNX Runtime, in fp32, int8, int4 and a mixed plan.

Without --model a small GPT is trained first, on characters.  Printed are the text of the mixed plan, and of
every form its perplexity on text that nothing learned from, and the tokens it reads in a second.
"""

import argparse

from apps import arguments
from apps.stream.options import above_zero
from apps.terminal import finish
from edge_mpq.errors import UsageError

BLOCKS = (32, 64, 128)


def main(argv: list[str]) -> int:
    """Run the verb."""
    parser = argparse.ArgumentParser(prog="edge-mpq generate", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--model", metavar="DIR", help="a folder with a GPT-2 checkpoint (a small GPT is trained)")
    parser.add_argument("--data", default="python", metavar="D", help="a text file, a folder of .txt files, or python: "
                        "the language's own help (python)")  # fmt: skip
    parser.add_argument("--steps", type=above_zero(int), default=600, metavar="N", help="of training (600)")
    parser.add_argument("--window", type=above_zero(int), metavar="T", help="tokens in a window (128, or the context)")
    parser.add_argument("--prompt", default="The ", metavar="TEXT", help="what the text begins with (The)")
    parser.add_argument("--tokens", type=above_zero(int), default=200, metavar="N", help="tokens to write (200)")
    parser.add_argument("--temperature", type=float, default=0.7, metavar="X", help="0 takes the likeliest (0.7)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of training and writing (0)")
    plan = parser.add_argument_group("the mixed plan")
    plan.add_argument("--target", default="cpu-x86-vnni", metavar="T", help="a target that is a CPU (cpu-x86-vnni)")
    plan.add_argument("--budget", default="size<=5bits", metavar="B", help="what it may cost (size<=5bits)")
    plan.add_argument("--formats", nargs="+", metavar="F", help="to choose from (w8b32 w4b32)")
    plan.add_argument("--block", type=int, choices=BLOCKS, default=32, help="inputs that share a scale (32)")
    plan.add_argument("--sensitivity", default="fisher", metavar="S", help="fisher, kl, sqnr or module.path")
    plan.add_argument("--allocator", default="milp", metavar="A", help="milp, greedy or module.path")
    plan.add_argument("--transform", nargs="+", default=[], metavar="X", help="rewrites of the float model, in order")
    plan.add_argument("--rounding", default="feedback", metavar="R", help="feedback, nearest or module.path")
    plan.add_argument("--recipe", metavar="R", help="a published system plans and rounds, instead of the five above")
    parser.add_argument("--cache-bits", type=int, choices=(32, 8), default=32, help="of keys and values (32)")
    parser.add_argument("--threads", type=above_zero(int), default=1, metavar="N", help="threads of the engines (1)")
    parser.add_argument("--out", metavar="DIR", help="keep the model, its ONNX files and plans here")
    arguments.add_json(parser)
    args = parser.parse_args(argv)
    args.observer = "minmax"  # weights alone are rounded
    arguments.check_plan(args)
    if not args.temperature >= 0:
        raise UsageError(f"--temperature {args.temperature}", "give 0 or more")
    if not args.prompt:
        raise UsageError("--prompt is empty", "give a character at least")

    from apps import text_generation
    from edge_mpq import recipes

    if args.recipe is not None:
        recipes.get(args.recipe)
    return finish(text_generation.generate(args), args.json)
