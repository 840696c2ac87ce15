"""A decoder's engine token by token: speed and perplexity in fp32, int8, int4 and a mixed plan, in one run.

    python -m benchmarks.language                        # the small GPT, trained on Python's help
    python -m benchmarks.language --width 512 --depth 4  # a wider one that has learned nothing: its speed alone

The forms take turns, so that what slows the machine slows all alike; each caches keys and values as floats
and as int8.  Prints a Markdown table, one row a form and cache: tokens a second reading a text one token
at a time, that over fp32, the size of the ONNX, and the perplexity of the engine on text never trained on.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

import torch

from apps import decoding, measure, text_generation
from apps.data import text
from apps.models.gpt import GPT
from apps.terminal import bar
from edge_mpq.kv_cache import Cache, FloatCache, IntegerCache
from edge_mpq.records import target as targets
from edge_mpq.simulation import prepared
from edge_mpq.training import loop

CACHES: dict[str, Cache] = {"fp32": FloatCache(), "int8": IntegerCache(8)}


def opened(args: argparse.Namespace) -> text_generation.Language:
    """The model that ``args`` ask for, trained where it is small."""
    data = text.open_text()
    torch.manual_seed(args.seed)
    model = GPT(len(data.vocabulary), args.window, args.width, args.depth, max(4, args.width // 64)).eval()
    if args.steps:
        drawn = text.drawn(data.train, args.window, text_generation.EACH, args.steps, args.seed)
        loop.fit(model, lambda epoch: drawn, 1, text_generation.RATE, progress=bar, precision="fp32")
    calibration = [
        tokens for tokens, _ in text.drawn(data.train, args.window, text_generation.EACH, 8, args.seed + 1000)
    ]
    judged = text.apart(data.validation, args.window, text_generation.EACH, args.windows)
    return text_generation.Language(model, data, prepared(model, calibration[0]), args.window, calibration, judged)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--steps", type=int, help="of training (400 at width 64, none at others)")
    parser.add_argument("--windows", type=int, default=64, help="of text to judge on")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--budget", default="size<=5bits")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.steps = args.steps if args.steps is not None else 400 * (args.width == 64)
    args.block, args.rounding, args.recipe, args.transform = 32, "feedback", None, []
    args.sensitivity, args.allocator = "fisher", "milp"
    torch.set_num_threads(args.threads)
    language, target = opened(args), targets.get("cpu-x86-vnni")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        forms = {
            (form, kept): stack.enter_context(entered)
            for kept, cache in CACHES.items()
            for form, entered in text_generation.forms(
                args, language, target, cache, ["w8b32", "w4b32"], folder / kept
            )
        }  # fmt: skip
        perplexities = {
            name: decoding.perplexity(form.writer, language.validation, bar) for name, form in forms.items()
        }
        passage = language.text.validation[: args.window][None].numpy()
        speeds = measure.interleaved({"/".join(k): form.writer for k, form in forms.items()}, passage, args.rounds, 2)
    print("| weights | cache | tokens/s | x fp32 | MiB | perplexity |\n|---|---|---|---|---|---|")
    for (form, kept), made in forms.items():
        speed = speeds[f"{form}/{kept}"]
        print(
            f"| {form} | {kept} | {passage.shape[1] * 1000 / speed.p50_ms:.0f} | "
            f"{measure.speedup(speeds['fp32/fp32'], speed):.2f} | {made.onnx_bytes / 2**20:.2f} | "
            f"{perplexities[form, kept]:.3f} |"
        )


if __name__ == "__main__":
    main()
