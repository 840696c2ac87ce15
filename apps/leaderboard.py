"""Every published system on one model, data, seeds, budget and target: what ``compare --recipes`` runs.

Each recipe with each seed is one trial, whose result is a file of its own: a run that was cut
goes on where it stopped.  What deploys is exported, built and measured on the target's engine;
the engines of the first seed are then timed in one interleaved run.
"""

import argparse
import hashlib
import json
import os
import re
import time
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch

from apps import measure
from apps.chosen import runs_here
from apps.data.batches import batches, sample
from apps.recipe_task import task_of, usual_budget
from apps.terminal import bar, say
from apps.work import Work, work_of
from edge_mpq import engines, recipes, trials
from edge_mpq.engines.base import Engine
from edge_mpq.errors import EdgeMpqError
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.quantizing import answers
from edge_mpq.recipes import Outcome
from edge_mpq.records import bundle as bundles
from edge_mpq.records import document, leaderboard
from edge_mpq.records import plan as plans
from edge_mpq.records.leaderboard import Entry, Leaderboard
from edge_mpq.records.target import Target
from edge_mpq.report import files, leaderboard_page
from edge_mpq.report.leaderboard import standings
from edge_mpq.simulation import prepared
from export import bundle_from_torch, onnx_from_torch
from export.bundle_from_torch import Quantized

ENTRY, ENTRY_VERSION = "leaderboard-entry", 1
BATCH = 64


class Trial(NamedTuple):
    """One recipe with one seed, told by plain values so that another process can run it."""

    recipe: str
    seed: int
    options: argparse.Namespace
    quiet: bool

    @property
    def stem(self) -> str:
        return f"{self.options.out}/trials/{re.sub('[^-+.=,0-9A-Za-z_]', '_', self.recipe)}-{self.seed}"


def compare(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """Run the trials that ``args`` (apps/compare_recipes.py) ask for, rank them, write the pages; what was written."""
    work = work_of(args)
    if args.budget is None:
        args.budget = usual_budget(prepared(work.model, work.example), work.target, args.formats)
    asked = [
        Trial(name, seed, args, args.workers > 1 or args.cluster is not None)
        for seed in range(args.seeds)
        for name in args.recipes
    ]
    entries = trials.run(run_trial, asked, args.workers, args.cluster, bar)
    fp32_top1, timed = _timed(work, args, [trial for trial in asked if trial.seed == 0], entries)
    board = Leaderboard(
        title=f"{len(args.recipes)} recipes on {work.title}",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        target=work.target.name,
        budget=args.budget,
        data=work.data.name,
        pictures=len(_test(work, args)[1]),
        fp32_top1=fp32_top1,
        machine=measure.machine(args.threads),
        commands=[command],
        entries=timed,
    )
    path = f"{args.out}/leaderboard"
    leaderboard.save(path + ".json", board)
    document.write_bytes(path + ".md", leaderboard_page.markdown(board).encode("utf-8"))
    files.write(path + ".html", leaderboard_page.render(board), [])
    say(leaderboard_page.markdown(board))
    say(f"page: {path}.html")
    ranked = [row._asdict() for row in standings(board)]
    return {"leaderboard": path + ".json", "page": path + ".html", "standings": ranked}


def run_trial(trial: Trial) -> Entry:
    """The entry of one trial: read where an earlier run left it, else made and kept."""
    record, key = trial.stem + ".json", _key(trial)
    known = _kept(record, key)
    if known is not None:
        return known
    args = argparse.Namespace(**{**vars(trial.options), "seed": trial.seed})
    work = work_of(args)
    paper = recipes.get(trial.recipe).PAPER
    started = time.perf_counter()
    torch.manual_seed(trial.seed)
    try:
        task = task_of(work, args.budget, args.formats, trial.seed)
        outcome = recipes.get(trial.recipe).run(task, silent if trial.quiet else bar)
    except EdgeMpqError as error:
        return leaderboard.failed(trial.recipe, trial.seed, paper, str(error))
    entry = _judged(trial, work, outcome, time.perf_counter() - started)
    document.save(record, ENTRY, ENTRY_VERSION, {"key": key, "entry": entry._asdict()})
    return entry


def _judged(trial: Trial, work: Work, outcome: Outcome, seconds: float) -> Entry:
    pictures, labels = _test(work, trial.options)
    layers = layers_of(outcome.graph)
    bits = plans.weight_bits(outcome.plan, layers)
    said = measure.top1(answers(outcome.quantized, [torch.from_numpy(batch) for batch in pictures]).numpy())
    entry = Entry(
        recipe=trial.recipe,
        seed=trial.seed,
        paper=recipes.get(trial.recipe).PAPER,
        failure="",
        weight_bits=bits,
        weight_mib=sum(layer.weights for layer in layers) * bits / 8 / measure.MIB,
        search_s=seconds,
        evaluations=outcome.evaluations,
        deployable=outcome.deployable,
        note=outcome.note,
        simulated_top1=float((said == labels).mean()),
    )
    plans.save(trial.stem + ".plan.json", outcome.plan)
    if not outcome.deployable or not runs_here(work.target):
        return entry
    with _engine(trial.stem, outcome, work.target, trial.options.threads) as engine:
        got = measure.top1(np.concatenate([engine.infer(batch)[0] for batch in pictures]))
    return entry._replace(
        top1=float((got == labels).mean()),
        agreement=float((got == said).mean()),
        file_mib=os.path.getsize(trial.stem + ".onnx") / measure.MIB,
    )


def _engine(stem: str, outcome: Outcome, target: Target, threads: int) -> Engine:
    float_onnx = onnx_from_torch.onnx_from_graph(outcome.graph, bundle_from_torch.opset_of(target))
    form = Quantized(outcome.plan, outcome.quantized)
    onnx_model = bundle_from_torch.quantized_onnx(float_onnx, outcome.graph, form, target)
    return _built(stem, onnx_model, target, threads)


def _built(stem: str, model: onnx.ModelProto, target: Target, threads: int) -> Engine:
    document.write_bytes(stem + ".onnx", model.SerializeToString())
    backend = engines.get(target.backend)
    backend.build(stem + ".onnx", stem + ".engine", target, None, threads)
    return backend.open(stem + ".engine", threads)


def _test(work: Work, args: argparse.Namespace) -> tuple[list[np.ndarray], np.ndarray]:
    count = min(args.pictures or len(work.data.test), len(work.data.test))
    pairs = list(batches(work.data.test, work.recipe, BATCH, sample(work.data.test, count, seed=2)))
    return [values for values, _ in pairs], np.concatenate([labels for _, labels in pairs])


def _timed(work: Work, args: argparse.Namespace, first: list[Trial], entries: list[Entry]) -> tuple[float, list[Entry]]:
    """fp32's share right, and the entries with the times of the first seed's engines, all timed in turns."""
    pictures, labels = _test(work, args)
    graph = prepared(work.model, work.example)
    if not runs_here(work.target):
        said = measure.top1(answers(graph, [torch.from_numpy(batch) for batch in pictures]).numpy())
        return float((said == labels).mean()), entries
    stem = f"{args.out}/trials/fp32"
    float_onnx = onnx_from_torch.onnx_from_graph(graph, bundle_from_torch.opset_of(work.target))
    opened = {"fp32": _built(stem, float_onnx, work.target, args.threads)}
    got = measure.top1(measure.answers(opened["fp32"], pictures, "answers of fp32"))
    backend = engines.get(work.target.backend)
    has_engine = {(entry.recipe, entry.seed) for entry in entries if entry.top1 is not None}
    for trial in first:
        if (trial.recipe, trial.seed) in has_engine:
            opened[trial.recipe] = backend.open(trial.stem + ".engine", args.threads)
    speeds = measure.interleaved(opened, pictures[0][:1], rounds=20)
    for engine in opened.values():
        engine.close()
    timed = [
        entry._replace(
            p50_ms=speeds[entry.recipe].p50_ms, speedup=measure.speedup(speeds["fp32"], speeds[entry.recipe])
        )
        if entry.seed == 0 and entry.recipe in speeds
        else entry
        for entry in entries
    ]
    return float((got == labels).mean()), timed


def _key(trial: Trial) -> str:
    """What a kept entry depends on: a run with other options does not take it."""
    ignored = ("recipes", "seeds", "workers", "cluster", "out", "json")
    options = {name: value for name, value in sorted(vars(trial.options).items()) if name not in ignored}
    options["weights_sha256"] = _digest(trial.options.weights) if trial.options.weights else None
    text = json.dumps([trial.recipe, trial.seed, options], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(path: str) -> str | None:
    if not os.path.isfile(path):
        return None
    return bundles.digest(path)


def _kept(path: str, key: str) -> Entry | None:
    """The entry an earlier run kept at ``path`` for the same options; None where there is none to trust."""
    if not os.path.isfile(path):
        return None
    fields = document.load(path, ENTRY, ENTRY_VERSION)
    same, body = fields.take("key", str) == key, fields.take("entry", dict)
    entry = document.named(Entry, body, path, fields)
    fields.done()
    return entry if same else None
