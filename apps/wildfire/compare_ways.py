"""Every way to train and deploy a wildfire model, measured on its engines in one run: ``wildfire-table``."""

import argparse
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from apps import measure, peak_memory
from apps.data.folder import open_folder
from apps.leaderboard import runs_here
from apps.stream.power import Sampler
from apps.terminal import bar, say
from apps.wildfire import comparison_page, flame, metrics
from apps.wildfire.comparison import Comparison, Row, save
from apps.wildfire.tasks import Task, counts_of, said
from apps.wildfire.training import SIZE, Job, job_of
from apps.wildfire.ways import Way, all_ways
from edge_mpq import budget as budgets
from edge_mpq import engines, menu
from edge_mpq.engines.base import Engine
from edge_mpq.errors import DataError, UsageError
from edge_mpq.layers import layers_of
from edge_mpq.quantizing import answers
from edge_mpq.records import document
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.records.target import Target
from edge_mpq.report import files
from export import bundle_from_torch, onnx_from_torch

BATCHES = (1, 4, 8)
ROUNDS, CALLS = 20, 25
Pairs = tuple[list[np.ndarray], np.ndarray]


def compare(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """Make every way and its engine, measure them, and write the table; where it was written, and its rows."""
    if args.qat_epochs is None:
        args.qat_epochs = max(1, round(args.epochs / 4))
    if torch.distributed.is_torchelastic_launched():
        raise UsageError("torchrun was asked to measure", "start one process: engines are timed by turns")
    if args.qat_epochs < 1 or args.threads < 1:
        raise UsageError(f"--qat-epochs {args.qat_epochs} --threads {args.threads}", "both are 1 or more")
    target, out = targets.get(args.target), Path(args.out)
    for look_up, names in ((budgets.parse, [args.budget] * bool(args.budget)), (menu.parse, args.formats or [])):
        for name in names:
            look_up(name)
    job = job_of(args)
    photographs = _photographs(args.photos, job) if args.photos else None
    test = job.parts.data.test
    tested = _joined(job.pairs(test, range(len(test)), "reading test pictures"))
    opened: dict[str, Engine] = {}
    rows: list[Row] = []
    budget = ""
    try:
        for way in all_ways(args, job, target):
            if way.graph is None:
                rows.append(Row(way.name, refused=way.refused))
                continue
            if way.form is not None:
                budget = way.form.plan.budget  # that of the mixed plan comes last
            stem = _stem(out, way.name)
            _exported(way, target, stem)
            if runs_here(target):
                opened[way.name] = _engine(target, stem, args.threads)
            rows.append(_answered(way, job.task, tested, photographs, opened.get(way.name), stem))
        if opened:
            rows = _timed(rows, opened, tested[0], out, args.threads)
    finally:
        for engine in opened.values():
            engine.close()
    made = Comparison(
        title=f"wildfire-{args.task}: {args.model} on {target.name}",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        task=args.task,
        model=args.model,
        target=target.name,
        data=job.parts.data.name,
        pictures=len(tested[1]),
        learned=len(job.parts.learned),
        budget=budget,
        machine=measure.machine(args.threads) | {"torch": torch.__version__},
        rows=rows,
        commands=[command],
    )
    path = out / "comparison.json"
    save(path, made)
    text = comparison_page.markdown(made)
    document.write_bytes(path.with_suffix(".md"), text.encode("utf-8"))
    files.write(path.with_suffix(".html"), comparison_page.render(made), [path])
    say(text)
    say(f"page: {path.with_suffix('.html')}")
    return {"comparison": str(path), "page": str(path.with_suffix(".html")), "rows": [row._asdict() for row in rows]}


def _joined(pairs: Any) -> Pairs:
    values, labels = zip(*pairs, strict=True)
    return list(values), np.concatenate(labels)


def _photographs(folder: str, job: Job) -> Pairs:
    """All of a folder of real photographs, none of which anything was learned from."""
    if job.task.NAME != "classify":
        raise UsageError("--photos have classes and no masks", "give them with --task classify")
    data = open_folder(folder)
    if list(data.classes) != list(flame.CLASSES):
        raise DataError(
            f"{folder} holds {', '.join(data.classes)}", "put photographs into " + " and ".join(flame.CLASSES)
        )
    found = [pair for half in (data.train, data.test) for pair in job.pairs(half, range(len(half)), "photographs")]
    return _joined(found)


def _stem(out: Path, name: str) -> Path:
    """Where the files of a way lie, without their suffixes."""
    return out / "ways" / name.replace(" ", "-").lower()


def _exported(way: Way, target: Target, stem: Path) -> None:
    """Write the ONNX of a way, and its plan beside it."""
    assert way.graph is not None
    model = onnx_from_torch.onnx_from_graph(way.graph, bundle_from_torch.opset_of(target))
    if way.form is not None:
        model = bundle_from_torch.quantized_onnx(model, way.graph, way.form, target)
        document.write_bytes(f"{stem}.onnx", model.SerializeToString())
        plans.save(f"{stem}.plan.json", way.form.plan)
    else:
        document.write_bytes(f"{stem}.onnx", model.SerializeToString())


def _engine(target: Target, stem: Path, threads: int) -> Engine:
    backend = engines.get(target.backend)
    backend.build(f"{stem}.onnx", f"{stem}.engine", target, None, threads)
    return backend.open(f"{stem}.engine", threads)


def _answered(way: Way, task: Task, tested: Pairs, photos: Pairs | None, engine: Engine | None, stem: Path) -> Row:
    """What a way answers: its engine where there is one, else its simulation."""
    model = way.graph if way.form is None else way.form.model
    assert model is not None and way.graph is not None
    values, labels = tested
    simulated = answers(model, [torch.from_numpy(part) for part in values], bar, f"simulated {way.name}").numpy()
    outputs = simulated if engine is None else measure.answers(engine, values, f"answers of {way.name}")
    layers = layers_of(way.graph)
    plan = plans.uniform(layers, targets.get("simulation"), "fp32", "fp32") if way.form is None else way.form.plan
    bits = plans.weight_bits(plan, layers)
    figures = metrics.figures(counts_of(task, outputs, labels), task.POSITIVE)
    on_photos = {}
    if photos is not None:
        asked = [torch.from_numpy(part) for part in photos[0]]
        got = answers(model, asked).numpy() if engine is None else measure.answers(engine, photos[0], "photographs")
        on_photos = metrics.figures(counts_of(task, got, photos[1]), task.POSITIVE)
    return Row(
        name=way.name,
        formats=_formats(plan),
        weight_bits=bits,
        weight_mib=sum(layer.weights for layer in layers) * bits / 8 / measure.MIB,
        file_mib=os.path.getsize(f"{stem}.onnx") / measure.MIB,
        train_s=way.train_s,
        figures=figures,
        loss=metrics.log_loss(task.fire(outputs), labels == task.POSITIVE),
        agreement=None if engine is None else float((said(task, outputs) == said(task, simulated)).mean()),
        photographs=on_photos,
    )


def _formats(plan: plans.PrecisionPlan) -> str:
    shorts = [plans.describe(choice) for choice in plan.choices.values()]
    return ", ".join(f"{shorts.count(short)} {short}" for short in dict.fromkeys(shorts))


def _timed(
    rows: list[Row], opened: dict[str, Engine], pictures: list[np.ndarray], out: Path, threads: int
) -> list[Row]:
    """The rows with times, memory and energy; every engine takes its turn in every round."""
    many = np.concatenate(pictures[: -(-max(BATCHES) // SIZE)])
    speeds = {size: measure.interleaved(opened, many[:size], ROUNDS, CALLS) for size in BATCHES if size <= len(many)}
    made = []
    for row in rows:
        if row.name not in opened:
            made.append(row)
            continue
        engine, one = opened[row.name], speeds[1][row.name]
        assert engine.card is not None  # it was built here
        memory = peak_memory.of_engine(engine.card.backend, f"{_stem(out, row.name)}.engine", threads)
        made.append(
            row._replace(
                peak_memory_mib=memory.peak_mib,
                loaded_memory_mib=memory.loaded_mib,
                p50_ms=one.p50_ms,
                p99_ms=one.p99_ms,
                fps=metrics.throughput(1, one.p50_ms),
                speedup=measure.speedup(speeds[1]["fp32"], one),
                energy_mj=_energy_mj(engine, many[:1], one.p50_ms),
                throughput_fps={
                    str(size): metrics.throughput(size, found[row.name].p50_ms) for size, found in speeds.items()
                },
            )
        )
    return made


def _energy_mj(engine: Engine, batch: np.ndarray, p50_ms: float) -> float | None:
    """The energy of a picture over some seconds of them, in mJ; None where no sensor tells the board's power."""
    sampler = Sampler()
    if not sampler.reads_power:
        return None
    count = max(10, int(3000 / p50_ms))
    sampler.start()
    for _ in range(count):
        engine.infer(batch)
    joules = sampler.stop().frame_j(count)
    return None if joules is None else 1000 * joules
