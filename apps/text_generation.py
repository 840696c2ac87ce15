"""Train or load a language model, quantize it, and let its engines write: what ``edge-mpq generate`` does."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch
from torch import fx

import edge_mpq
from apps import decoding, measure
from apps.data import text
from apps.data.text import Text
from apps.data.vocabulary import Characters, open_vocabulary
from apps.decoding import Writer
from apps.models import gpt_checkpoint
from apps.models.gpt import GPT
from apps.peak_memory import peak_mib
from apps.terminal import bar, say
from edge_mpq import menu as menus
from edge_mpq import recipes
from edge_mpq.engines import onnxruntime
from edge_mpq.errors import ModelError, TargetError, UsageError
from edge_mpq.kv_cache import Cache, FloatCache, IntegerCache
from edge_mpq.layers import layers_of
from edge_mpq.planning import plan
from edge_mpq.quantizing import quantize
from edge_mpq.records import document
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.layer import fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.training import loop
from export import decoder_onnx_from_torch
from export.bundle_from_torch import Quantized

EACH = 16  # windows a batch
CALIBRATION, VALIDATION = 8, 64  # batches to plan on, windows to judge on
TIMED, ROUNDS = 64, 8  # tokens of a passage, and how often it is read
RATE = 1e-2
WEIGHTS_ONLY = RangeTable({}, "minmax", 1)


class Language(NamedTuple):
    """A model, the text it is judged on, and windows of it.  graph: traced for windows of ``window`` tokens."""

    model: GPT
    text: Text
    graph: fx.GraphModule
    window: int
    calibration: list[torch.Tensor]
    validation: list[text.Batch]


class Form(NamedTuple):
    """One form of the model: its plan (None: fp32), ONNX and engine."""

    plan: PrecisionPlan | None
    onnx_bytes: int
    writer: Writer


def generate(args: argparse.Namespace) -> dict[str, Any]:
    """What was written and measured, as JSON values; the text goes to stdout unless they do."""
    target = targets.get(args.target)
    if target.backend != "onnxruntime":
        raise TargetError(f"a decoder runs on ONNX Runtime, and {target.name} has {target.backend}", "plan for a CPU")
    chosen, loaded = _formats(args), peak_mib()
    language = _language(args)
    cache: Cache = FloatCache() if args.cache_bits == 32 else IntegerCache(args.cache_bits)
    with contextlib.ExitStack() as stack:
        folder = Path(args.out or stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-mpq-")))
        opening = forms(args, language, target, cache, chosen, folder)
        opened = {name: stack.enter_context(form) for name, form in opening}
        told = {name: _told(form, language) for name, form in opened.items()}
        passage = language.text.validation[: min(TIMED, language.window)][None].numpy()
        speeds = measure.interleaved({name: form.writer for name, form in opened.items()}, passage, ROUNDS, 2)
        prompt = language.text.vocabulary.encoded(args.prompt).tolist()
        tokens = decoding.written(opened["mixed"].writer, prompt, args.tokens, args.temperature, args.seed, bar)
    for name, row in told.items():
        row["tokens_per_s"] = passage.shape[1] * 1000 / speeds[name].p50_ms
        row["speedup"] = measure.speedup(speeds["fp32"], speeds[name])
    wrote = args.prompt + language.text.vocabulary.decoded(tokens)
    result = {
        "text": wrote, "data": language.text.name, "window": language.window, "cache_bits": args.cache_bits,
        "parameters": sum(value.numel() for value in language.model.parameters()), "variants": told,
        "loaded_mib": loaded, "peak_mib": peak_mib(), "machine": measure.machine(args.threads),
    }  # fmt: skip
    if not args.json:
        sys.stdout.write(wrote + "\n")
    _show(told)
    say(f"peak memory of this run: {result['peak_mib']:.0f} MiB, of it {loaded:.0f} before a model was there")
    return result


def _formats(args: argparse.Namespace) -> list[str]:
    """The formats to choose from; UsageError for one that rounds activations."""
    chosen = args.formats or [f"w8b{args.block}", f"w4b{args.block}"]
    rounding = [name for name in chosen if menus.parse(name)[1] != "fp32"]
    if rounding:
        what = f"{', '.join(rounding)} round activations, which a decoder leaves float"
        raise UsageError(what, "choose from fp32, w8b32, w4b32, ...")
    return list(chosen)


def _language(args: argparse.Namespace) -> Language:
    """Load what ``args`` name, or train it."""
    if args.model is not None:
        model = gpt_checkpoint.load(args.model)
        data = text.open_text(args.data, open_vocabulary(args.model))
        if len(data.vocabulary) > len(model.wte.weight):
            raise ModelError(
                f"{args.model} knows {len(model.wte.weight)} tokens, its tokenizer has {len(data.vocabulary)}",
                "put the tokenizer of this checkpoint there",
            )
        window = min(args.window or 128, model.context)
    else:
        data, window = text.open_text(args.data), args.window or 128
        text.apart(data.validation, window, EACH, 1)  # or a window too long is found after the training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(args.seed)
            model = GPT(len(data.vocabulary), window)
            loop.fit(
                model, lambda epoch: text.drawn(data.train, window, EACH, args.steps, args.seed + epoch), 1, RATE,
                progress=bar, precision="fp32",
            )  # fmt: skip
    if args.out:
        gpt_checkpoint.save(args.out, model)
        if isinstance(data.vocabulary, Characters):
            data.vocabulary.save(args.out)
    calibration = [tokens for tokens, _ in text.drawn(data.train, window, EACH, CALIBRATION, args.seed + 1000)]
    validation = text.apart(data.validation, window, EACH, VALIDATION)
    return Language(model, data, edge_mpq.prepared(model, calibration[0]), window, calibration, validation)


def forms(
    args: argparse.Namespace, language: Language, target: Target, cache: Cache, formats: Sequence[str], folder: Path
) -> Iterator[tuple[str, contextlib.AbstractContextManager[Form]]]:
    """Every form by name, each to be entered before the next is made."""
    graph = language.graph
    whole = decoder_onnx_from_torch.onnx_from_decoder(language.model, graph, cache)
    yield "fp32", _opened("fp32", whole, None, language, target, folder, args.threads)
    for bits in (8, 4):
        made = _uniform(graph, target, f"w{bits}b{args.block}")
        quantized = _rounded(graph, made, language, args.rounding)
        written = decoder_onnx_from_torch.quantized_onnx(whole, graph, Quantized(made, quantized), target)
        yield f"int{bits}", _opened(f"int{bits}", written, made, language, target, folder, args.threads)
    made, graph, quantized = _mixed(args, language, target, formats)
    if graph is not language.graph:
        whole = decoder_onnx_from_torch.onnx_from_decoder(language.model, graph, cache)
    written = decoder_onnx_from_torch.quantized_onnx(whole, graph, Quantized(made, quantized), target)
    yield "mixed", _opened("mixed", written, made, language, target, folder, args.threads)


def _mixed(
    args: argparse.Namespace, language: Language, target: Target, formats: Sequence[str]
) -> tuple[PrecisionPlan, fx.GraphModule, fx.GraphModule]:
    """The plan within the budget, the float graph it is of, and its simulation."""
    if args.recipe is not None:
        task = recipes.Task(
            language.graph, language.calibration[0], language.calibration, _labelled(language, args.seed), None,
            target, args.budget, formats, args.seed,
        )  # fmt: skip
        outcome = recipes.get(args.recipe).run(task, bar)
        return outcome.plan, outcome.graph, outcome.quantized
    graph = edge_mpq.transforms.apply_all(args.transform, language.graph, language.calibration, target, bar)
    made = plan(
        graph,
        language.calibration[0],
        language.calibration,
        target,
        args.budget,
        args.sensitivity,
        args.allocator,
        formats,
        validation=_labelled(language, args.seed),
        ranges=WEIGHTS_ONLY,
        transforms=args.transform,
        progress=bar,
    )
    return made, graph, _rounded(graph, made, language, args.rounding)


def _rounded(graph: fx.GraphModule, made: PrecisionPlan, language: Language, rounding: str) -> fx.GraphModule:
    return quantize(graph, made, language.calibration, rounding=rounding, ranges=WEIGHTS_ONLY, progress=bar)[0]


def _labelled(language: Language, seed: int) -> list[text.Batch]:
    """Windows that search may be judged on: of the text that trained, as nothing else is seen before the end."""
    return text.drawn(language.text.train, language.window, EACH, CALIBRATION, seed + 2000)


def _uniform(graph: fx.GraphModule, target: Target, form: str) -> PrecisionPlan:
    """Every layer in ``form``, save those whose inputs make no whole blocks."""
    layers = layers_of(graph)
    choices = {name: Choice(*pairs[0], why="uniform") for name, pairs in menus.menu_of(layers, target, [form]).items()}
    return PrecisionPlan(fingerprint(layers), target.name, choices, budget="none")


@contextlib.contextmanager
def _opened(
    name: str, model: onnx.ModelProto, made: PrecisionPlan | None, language: Language, target: Target, folder: Path,
    threads: int,
) -> Iterator[Form]:  # fmt: skip
    """Write, build and open one form."""
    path, engine = folder / f"{name}.onnx", folder / f"{name}.engine"
    document.write_bytes(path, model.SerializeToString())
    if made is not None:
        plans.save(folder / f"{name}.plan.json", made)
    onnxruntime.build(path, engine, target, made, threads)
    with Writer(onnxruntime.open(engine, threads), language.model.context) as writer:
        yield Form(made, os.path.getsize(path), writer)


def _told(form: Form, language: Language) -> dict[str, Any]:
    """What is known of a form before it is timed."""
    layers, choices = layers_of(language.graph), {} if form.plan is None else form.plan.choices
    return {
        "perplexity": decoding.perplexity(form.writer, language.validation, bar),
        "weight_bits": 32.0 if form.plan is None else plans.weight_bits(form.plan, layers),
        "file_mib": form.onnx_bytes / 2**20,
        "layers": {name: plans.describe(choice) for name, choice in choices.items()},
    }


def _show(told: dict[str, dict[str, Any]]) -> None:
    """The table, for a person."""
    say(f"{'':8}{'bits':>6}{'MiB':>8}{'perplexity':>12}{'tokens/s':>10}{'x fp32':>8}")
    for name, row in told.items():
        say(
            f"{name:8}{row['weight_bits']:6.2f}{row['file_mib']:8.2f}{row['perplexity']:12.3f}"
            f"{row['tokens_per_s']:10.0f}{row['speedup']:8.2f}"
        )
