"""The entropy rule against two independent implementations on the very same histograms.

One is a plain transcription of Migacz's slides, loops and all, which must agree to the last
digits; the other is ONNX Runtime's, which leaves the remainder of an uneven division to the
last level, so its thresholds agree only to 15 % where the divergence is flat.
"""

import numpy as np
import pytest

from edge_mpq.observers.entropy import divergences

LEVELS, BINS = 128, 1024


def drawn(shape):
    generator = np.random.default_rng(7)
    samples = {
        "normal": generator.normal(size=400_000),
        "laplace": generator.laplace(size=400_000),
        "logistic": generator.logistic(size=400_000),
        "uniform": generator.uniform(-1, 1, 400_000),
    }
    return samples[shape].astype(np.float32)


def divergence_by_the_slides(counts, begin, end, levels):
    """KL divergence of the window [begin, end) of ``counts`` quantized to ``levels``, loops only."""
    inside = [int(count) for count in counts[begin:end]]
    real = list(inside)
    real[0] += int(counts[:begin].sum())
    real[-1] += int(counts[end:].sum())
    quantized = [0.0] * len(inside)
    for level in range(levels):
        members = range(level * len(inside) // levels, (level + 1) * len(inside) // levels)
        occupied = [place for place in members if real[place]]
        for place in occupied:
            quantized[place] = sum(inside[other] for other in members) / len(occupied)
    whole, kept, answer = sum(real), sum(quantized), 0.0
    for p, q in zip(real, quantized, strict=True):
        if p and not q:
            return np.inf
        if p:
            answer += p / whole * np.log((p / whole) / (q / kept))
    return answer


@pytest.mark.parametrize("zero", [0, 30, 200])
@pytest.mark.parametrize("levels", [8, 16])
def test_every_window_diverges_as_the_slides_say(zero, levels):
    generator = np.random.default_rng(zero + levels)
    counts = generator.poisson(40 * np.exp(-np.abs(np.arange(-zero, 200)) / 25))
    found = divergences(counts, zero, levels)
    for index, divergence in enumerate(found):
        begin, end = max(zero - index - 1, 0), min(zero + index + 1, len(counts))
        if end - begin < levels:
            assert divergence == np.inf
        else:
            assert divergence == pytest.approx(divergence_by_the_slides(counts, begin, end, levels), abs=1e-12)
    assert np.isfinite(found[-1]) and np.isfinite(found).sum() > 20


@pytest.mark.parametrize("shape", ["normal", "laplace", "logistic", "uniform"])
def test_thresholds_agree_with_onnxruntime(shape, capsys):
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    collector = calibrate.HistogramCollector("entropy", False, BINS, LEVELS, None, None)
    collector.collect({"x": drawn(shape)})
    counts, edges, low, high, full = collector.histogram_dict["x"]
    theirs = max(np.abs(collector.get_entropy_threshold((counts, edges, low, high), LEVELS)))

    divergence = divergences(counts, BINS // 2, LEVELS)
    ours = min((int(divergence.argmin()) + 1) * (edges[1] - edges[0]), full)
    assert ours == pytest.approx(theirs, rel=0.15)
    if shape == "uniform":
        assert ours == pytest.approx(full, rel=0.01)
    else:
        assert ours < 0.95 * full
