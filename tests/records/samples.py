"""Hypothesis strategies for records: any record that a stage could write."""

from hypothesis import strategies as st

from edge_mpq.records import formats, target
from edge_mpq.records.engine import EngineCard
from edge_mpq.records.evaluation import Evaluation
from edge_mpq.records.histogram import TensorHistogram
from edge_mpq.records.layer import LayerSpec, fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.report import LayerRow, Option, RunReport, Stream, Variant
from edge_mpq.records.tuning import Space, Trial, Tuning

names = st.text(min_size=1, max_size=20)
texts = st.text(max_size=30)
finite = st.floats(-1e37, 1e37)
counts = st.integers(0, 2**53)
shapes = st.lists(st.integers(1, 4096), min_size=1, max_size=4).map(tuple)
kinds = st.sampled_from(["conv1d", "conv2d", "conv_transpose2d", "linear"])
form_names = st.sampled_from(sorted(formats.FORMATS))
maybe = st.none() | finite

layers = st.builds(
    LayerSpec,
    name=names,
    kind=kinds,
    weight_shape=shapes,
    input_shape=shapes,
    output_shape=shapes,
    macs=counts,
    groups=st.integers(1, 512),
    tie=st.none() | names,
)
models = st.lists(layers, min_size=1, max_size=8, unique_by=lambda layer: layer.name)
choices = st.builds(Choice, form_names, form_names, texts)
plans = models.flatmap(
    lambda specs: st.builds(
        PrecisionPlan,
        model=st.just(fingerprint(specs)),
        target=st.sampled_from(target.names()),
        choices=st.fixed_dictionaries({layer.name: choices for layer in specs}),
        budget=texts,
        sensitivity=texts,
        allocator=texts,
        predicted=st.dictionaries(names, finite, max_size=4),
        transforms=st.lists(names, max_size=3).map(tuple),
    )
)
ranges = st.builds(
    RangeTable,
    tensors=st.dictionaries(names, st.tuples(finite, finite).map(lambda pair: (min(pair), max(pair))), max_size=6),
    rule=texts,
    pictures=counts,
    data=texts,
)
cards = st.builds(
    EngineCard,
    backend=texts,
    target=texts,
    device=texts,
    versions=st.dictionaries(names, texts, max_size=3),
    onnx_sha256=texts,
    engine_sha256=texts,
    engine_bytes=counts,
    build_s=finite,
    asked=st.dictionaries(names, texts, max_size=3),
    got=st.dictionaries(names, texts, max_size=3),
)
options = st.lists(st.builds(Option, texts, finite, finite, maybe), max_size=3).map(tuple)
rows = st.builds(LayerRow, texts, texts, texts, counts, counts, maybe, maybe, maybe, texts, options)
some_rows = st.lists(rows, max_size=3)
variants = st.builds(Variant, texts, *[finite] * 7, maybe, maybe, maybe, some_rows, maybe)
stages = st.dictionaries(names, finite, max_size=4)
parts = st.lists(st.dictionaries(texts, st.one_of(texts, counts, finite), max_size=4), max_size=2)
streams = st.builds(Stream, texts, counts, counts, counts, finite, finite, finite, finite, stages, texts, counts, parts)
shares = st.floats(0, 1)
evaluations = st.lists(names, min_size=2, max_size=4).flatmap(
    lambda classes: st.builds(
        Evaluation,
        classes=st.just(classes),
        positive=st.sampled_from(classes),
        unit=st.sampled_from(["pictures", "pixels"]),
        confusion=st.lists(
            st.lists(counts, min_size=len(classes), max_size=len(classes)),
            min_size=len(classes),
            max_size=len(classes),
        ),
        figures=st.dictionaries(names, shares, max_size=4),
        curve=st.lists(st.lists(shares, min_size=2, max_size=2), max_size=4),
        worst=st.lists(st.lists(texts, min_size=2, max_size=2), max_size=2),
    )
)
ends = st.tuples(finite, finite).filter(lambda pair: pair[0] != pair[1]).map(sorted)
histograms = st.tuples(ends, ends).flatmap(
    lambda pairs: st.builds(
        TensorHistogram,
        layer=texts,
        tensor=st.sampled_from(["input", "weights"]),
        format=texts,
        low=st.just(pairs[0][0]),
        high=st.just(pairs[0][1]),
        counts=st.lists(counts, min_size=1, max_size=4),
        clip_low=st.just(pairs[1][0]),
        clip_high=st.just(pairs[1][1]),
        clipped=shares,
    )
)
reports = st.builds(
    RunReport,
    title=texts,
    created=texts,
    target=texts,
    machine=st.dictionaries(names, texts, max_size=3),
    variants=st.lists(variants, max_size=3),
    stream=st.none() | streams,
    facts=st.dictionaries(names, texts | finite | st.booleans() | counts, max_size=4),
    pictures=st.lists(st.tuples(texts, texts).map(list), max_size=2),
    commands=st.lists(texts, max_size=3),
    evaluation=st.none() | evaluations,
    histograms=st.lists(histograms, max_size=3),
    disagreements=st.lists(st.tuples(texts, texts).map(list), max_size=2),
)
spaces = st.builds(
    Space,
    axes=st.dictionaries(
        names, st.lists(names, min_size=1, max_size=3, unique=True).map(tuple), min_size=1, max_size=3
    ),
    features=st.dictionaries(names, finite, max_size=3),
)
tunings = spaces.flatmap(
    lambda space: st.builds(
        Tuning,
        space=st.just(space),
        trials=st.lists(
            st.builds(Trial, st.sampled_from(space.configurations()), finite),
            unique_by=lambda trial: trial.configuration,
        ).map(tuple),
    )
)
