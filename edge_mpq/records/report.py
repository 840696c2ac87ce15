"""RunReport: what a run measured.  Units stand in the field names."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from edge_mpq.records import document, evaluation, histogram
from edge_mpq.records.evaluation import Evaluation
from edge_mpq.records.histogram import TensorHistogram

KIND, VERSION = "report", 1


class Option(NamedTuple):
    """What a layer would be in one of the formats it may take.

    format: short name (``w4a8``).  harm: its sensitivity score.  size_mib: its weights at
    nominal bits.  ms: its planned time, None where not known.
    """

    format: str
    harm: float
    size_mib: float
    ms: Optional[float] = None


class LayerRow(NamedTuple):
    """One layer of one variant: what was planned, what the engine ran, what it cost.

    asked, got: short names as in plans (``w4a8``, ``fp32``).  planned_ms, measured_ms:
    None where not known.  harm: the sensitivity score of the chosen formats.
    weights: how many.  why: the plan's reason.  options: what it was chosen from.
    """

    layer: str
    asked: str
    got: str
    weights: int
    macs: int
    planned_ms: Optional[float] = None
    measured_ms: Optional[float] = None
    harm: Optional[float] = None
    why: str = ""
    options: Tuple[Option, ...] = ()


class Variant(NamedTuple):
    """One engine of a comparison: ``fp32``, ``int8``, ``mixed``.

    top1: share of pictures right, 0 to 1; of a segmenter instead mean_iou, over its classes.
    agreement: share (of pixels, for a segmenter) on which its answer is fp32's.
    simulated_agreement: share on which the engine answers as its fake-quantized torch model.
    weight_mib: weights at their nominal bits.  speedup: fp32's median time by this one's, timed interleaved in one run.
    """

    name: str
    file_mib: float
    weight_mib: float
    weight_bits: float
    p50_ms: float
    p99_ms: float
    fps: float
    speedup: float
    top1: Optional[float] = None
    agreement: Optional[float] = None
    simulated_agreement: Optional[float] = None
    layers: List[LayerRow] = []
    mean_iou: Optional[float] = None


class Stream(NamedTuple):
    """What a camera run measured.

    p50_ms, p99_ms: from having read a frame to having its answer.  stages_p50_ms: stage (grab,
    preprocess, wait, infer, decode, draw, write) -> ms; those of one frame lie beside those of
    others.  losses: how often a camera was lost and waited for.  parts: of several sources, the
    figures of each: {source, frames, dropped, torn, losses, fps, p50_ms, p99_ms, ended}.
    """

    source: str
    frames: int
    dropped: int
    torn: int
    seconds: float
    fps: float
    p50_ms: float
    p99_ms: float
    stages_p50_ms: Dict[str, float]
    ended: str = ""
    losses: int = 0
    parts: List[Dict[str, Any]] = []


class RunReport(NamedTuple):
    """Everything a report page shows.

    machine: processor, cores, threads, versions.  facts: further figures by name, with
    units in the name (``quantize_s``, ``real_photos_top1``).  pictures: [(caption, PNG or
    JPEG as base64)].  commands: what to run to make this report again.  evaluation: how a model's
    answers stand to the truth, where one was trained or tested.  histograms: of what the layers of
    the planned engine read.  disagreements: pictures, as (caption, base64), that it answers least
    like fp32, the worst first.
    """

    title: str
    created: str
    target: str
    machine: Dict[str, str]
    variants: List[Variant] = []
    stream: Optional[Stream] = None
    facts: Dict[str, Any] = {}
    pictures: List[List[str]] = []
    commands: List[str] = []
    evaluation: Optional[Evaluation] = None
    histograms: List[TensorHistogram] = []
    disagreements: List[List[str]] = []


def save(path, report):
    """Write the report to ``path``."""
    variants = [
        dict(variant._asdict(), layers=[row_to_json(row) for row in variant.layers]) for variant in report.variants
    ]
    stream = report.stream._asdict() if report.stream else None
    judged = evaluation.to_json(report.evaluation) if report.evaluation else None
    spread = [made._asdict() for made in report.histograms]
    body = dict(report._asdict(), variants=variants, stream=stream, evaluation=judged, histograms=spread)
    document.save(path, KIND, VERSION, body)


def row_to_json(row):
    """A LayerRow as JSON values."""
    return dict(row._asdict(), options=[option._asdict() for option in row.options])


def row_from_json(body, where, fields):
    """The LayerRow in a decoded JSON object; its faults are told to ``fields``, and None given."""
    row = document.named(LayerRow, body, where, fields)
    if row is None:
        return None
    options = [document.named(Option, option, "an option of " + where, fields) for option in row.options]
    return row._replace(options=tuple(option for option in options if option is not None))


def _pair(entry):
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def load(path):
    """Read a report; RecordError names every fault."""
    fields = document.load(path, KIND, VERSION)
    variants = []
    for index, body in enumerate(fields.take("variants", list, [])):
        variant = document.named(Variant, body, "variant {}".format(index), fields)
        if variant is not None:
            where = "a layer of variant {}".format(index)
            rows = [row_from_json(row, where, fields) for row in variant.layers]
            variants.append(variant._replace(layers=[row for row in rows if row is not None]))
    stream = fields.take("stream", dict, optional=True)
    judged = fields.take("evaluation", dict, optional=True)
    # Reports of older versions have neither.
    spread = [histogram.from_json(body, fields) for body in fields.take("histograms", list, optional=True) or []]
    report = RunReport(
        title=fields.take("title", str),
        created=fields.take("created", str),
        target=fields.take("target", str),
        machine=fields.take("machine", dict),
        variants=variants,
        stream=document.named(Stream, stream, "stream", fields) if stream is not None else None,
        facts=fields.take("facts", dict),
        pictures=fields.take("pictures", list, []),
        commands=fields.take("commands", list),
        evaluation=evaluation.from_json(judged, fields) if judged is not None else None,
        histograms=[made for made in spread if made is not None],
        disagreements=fields.take("disagreements", list, optional=True) or [],
    )
    for name in ("pictures", "disagreements"):
        if not all(_pair(entry) for entry in getattr(report, name)):
            fields.fault("field {!r} is not a list of [caption, base64]".format(name))
    fields.done()
    return report
