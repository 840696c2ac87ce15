"""The budget language: what it reads, what it refuses, and the limits it makes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mpq import budget, cost
from edge_mpq.budget import UNITS, Budget, Term, limits, parse, usual
from edge_mpq.errors import PlanError
from edge_mpq.menu import menu_of
from edge_mpq.records import target as targets
from edge_mpq.records.layer import LayerSpec

LAYERS = [
    LayerSpec("a", "conv2d", (8, 4, 3, 3), (4, 10, 10), (8, 10, 10), 28_800),
    LayerSpec("b", "linear", (10, 80), (80,), (10,), 800),
]
WEIGHTS = 288 + 800
PAIRS = [("fp32", "fp32"), ("int8", "int8"), ("int4", "int8")]
MENU = {layer.name: PAIRS for layer in LAYERS}
BOARD = targets.get("cpu-x86-vnni")
TABLES = {
    "size": cost.get("size").table(LAYERS, MENU, BOARD),
    "bitops": cost.get("bitops").table(LAYERS, MENU, BOARD),
    "latency": {
        "a": dict(zip(PAIRS, (3.0, 1.0, 1.0), strict=True)),
        "b": dict(zip(PAIRS, (1.0, 0.5, 0.5), strict=True)),
    },
}


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("size<=5bits", Term("size", 5, "bits")),
        ("size<=0.25x", Term("size", 0.25, "x")),
        ("size<=1.5MiB", Term("size", 1.5, "MiB")),
        ("latency<=4ms", Term("latency", 4, "ms")),
        ("latency<=0.6x", Term("latency", 0.6, "x")),
        ("drop<=0.5%", Term("drop", 0.5, "%")),
        ("bitops<=0.2x", Term("bitops", 0.2, "x")),
        (" size <= .5 x ", Term("size", 0.5, "x")),
        ("latency<=1e-2ms", Term("latency", 0.01, "ms")),
    ],
)
def test_every_term_of_the_grammar_is_read(text, term):
    assert parse(text) == Budget((term,))


def test_terms_combine_in_any_order_and_are_written_canonically():
    text = "size<=5bits,latency<=0.6x,bitops<=0.2x,drop<=0.5%"
    assert str(parse("drop<=0.50%, bitops<=.2x, latency <= 0.6x,size<=5.0bits")) == text
    assert parse("drop<=0.5%,size<=5bits") == parse("size<=5bits,drop<=0.5%")


@given(
    terms=st.dictionaries(st.sampled_from(list(UNITS)), st.floats(1e-300, 100, exclude_min=True), min_size=1),
    unit=st.integers(0, 2),
)
def test_what_is_written_is_read_back(terms, unit):
    made = Budget(
        tuple(Term(name, terms[name], UNITS[name][unit % len(UNITS[name])]) for name in UNITS if name in terms)
    )
    assert parse(str(made)) == made


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a term is empty"),
        ("   ", "a term is empty"),
        ("size<=5bits,", "a term is empty"),
        ("size<=0bits", "not above zero"),
        ("size<=0.0x", "not above zero"),
        ("latency<=1e-400ms", "not above zero"),
        ("latency<=1e999ms", "not above zero and finite"),
        ("size<=-5bits", "'size<=-5bits' is no budget term"),
        ("size<=nanbits", "no budget term"),
        ("size<5bits", "no budget term"),
        ("size>=5bits", "no budget term"),
        ("size<=5", "no budget term"),
        ("size<=1,5bits", "no budget term"),
        ("5bits", "no budget term"),
        ("size<=٥bits", "no budget term"),
        ("size<=5ms", "size is counted in bits or x or MiB, not ms"),
        ("size<=5MB", "not MB"),
        ("latency<=4s", "latency is counted in ms or x, not s"),
        ("drop<=0.5x", "drop is counted in %, not x"),
        ("drop<=101%", "no more than 100 %"),
        ("energy<=5x", "there is no quantity 'energy'"),
        ("size<=5bits,size<=5bits", "'size' stands twice"),
        ("size<=5bits,latency<=4ms,size<=0.5x", "'size' stands twice"),
    ],
)
def test_anything_else_is_refused_with_the_grammar(text, complaint):
    with pytest.raises(PlanError) as caught:
        parse(text)
    assert complaint in caught.value.what
    assert "size<=5bits" in caught.value.mend and "drop<=0.5%" in caught.value.mend


def test_all_faults_are_told_together():
    with pytest.raises(PlanError, match=r"'a' is no budget term; size is counted|'a' is no budget term; 'size<=5ms'"):
        parse("a,size<=5ms")


def test_the_drop_is_a_share():
    assert parse("drop<=0.5%,size<=5bits").drop() == 0.005
    assert parse("size<=5bits").drop() is None


def limit_of(text, **facts):
    [made] = limits(parse(text), LAYERS, TABLES, **facts)
    return made


def test_average_bits_become_mebibytes():
    made = limit_of("size<=5bits")
    assert made.most == pytest.approx(WEIGHTS * 5 / 8 / 2**20)
    assert made.costs is TABLES["size"]
    assert made.what == "size<=5bits (in MiB)"
    assert limit_of("size<=0.25x").most == pytest.approx(WEIGHTS / 2**20)
    assert limit_of("size<=8bits").most == pytest.approx(sum(row["int8", "int8"] for row in TABLES["size"].values()))
    assert limit_of("size<=1.5MiB")[:3] == (TABLES["size"], 1.5, "size<=1.5MiB")


def test_shares_are_of_fp32():
    assert limit_of("latency<=0.6x").most == pytest.approx(0.6 * 4)
    assert limit_of("latency<=3ms")[:3] == (TABLES["latency"], 3.0, "latency<=3ms")
    assert limit_of("bitops<=0.2x").most == pytest.approx(0.2 * (28_800 + 800) * 1024 / 1e9)


def test_time_outside_the_layers_counts_against_the_latency():
    assert limit_of("latency<=3ms", other_ms=1.0).most == pytest.approx(2)
    assert limit_of("latency<=0.6x", other_ms=1.0).most == pytest.approx(0.6 * 5 - 1)
    assert limit_of("size<=5bits", other_ms=1.0).most == limit_of("size<=5bits").most
    with pytest.raises(PlanError, match="latency<=3ms allows 3 ms, and 3 ms pass outside"):
        limit_of("latency<=3ms", other_ms=3.0)


def test_every_term_but_the_drop_is_a_limit():
    made = limits(parse("drop<=1%,latency<=3ms,size<=5bits"), LAYERS, TABLES)
    assert [limit.what for limit in made] == ["size<=5bits (in MiB)", "latency<=3ms"]
    assert limits(parse("drop<=1%"), LAYERS, {}) == []


def test_missing_costs_are_named():
    with pytest.raises(PlanError, match="latency<=3ms needs the latency of every layer"):
        limits(parse("latency<=3ms"), LAYERS, {})
    narrow = {"latency": {"a": TABLES["latency"]["a"], "b": {("int8", "int8"): 1.0}}}
    with pytest.raises(PlanError, match="latency is not known for b"):
        limits(parse("latency<=0.5x"), LAYERS, narrow)
    assert limits(parse("latency<=3ms"), LAYERS, narrow)[0].most == 3


def test_the_grammar_shown_is_one_that_is_read():
    mend = budget._GRAMMAR.removeprefix("write terms like ").removesuffix(", joined by commas")
    assert all(str(parse(term)) == term for term in mend.split(", "))


@pytest.mark.parametrize(
    ("board", "formats", "said"),
    [
        ("cpu-x86-vnni", None, "size<=0.25x"),
        ("jetson-orin-nano", None, "size<=0.25x"),
        ("jetson-nano", None, "size<=0.5x"),
        ("jetson-nano", ["fp32"], "size<=1x"),
        ("cpu-x86-vnni", ["fp32", "w4a8"], "size<=1x"),
        ("cpu-x86-vnni", ["w4a8", "w3a8"], "size<=0.125x"),
    ],
)
def test_without_a_budget_weights_may_have_the_size_of_8_bits_or_the_narrowest_above(board, formats, said):
    layers = [layer._replace(weight_shape=(32, 32, 3, 3)) if layer.kind == "conv2d" else layer for layer in LAYERS]
    assert str(usual(layers, menu_of(layers, targets.get(board), formats))) == said


def test_without_a_budget_a_layer_without_a_kernel_counts_with_what_it_has_and_takes_those_tied_to_it_along():
    def share(layers):
        (term,) = usual(layers, menu_of(layers, BOARD)).terms
        return term.most

    up = LayerSpec("up", "conv_transpose2d", (8, 4, 2, 2), (8, 10, 10), (4, 20, 20), 51_200)
    free = share([*LAYERS, up])
    assert free == pytest.approx((WEIGHTS * 8 + 128 * 32) / ((WEIGHTS + 128) * 32), abs=1e-4) and free > 0.25
    tied = [LAYERS[0]._replace(tie="t"), LAYERS[1], up._replace(tie="t")]
    assert share(tied) == pytest.approx((800 * 8 + 416 * 32) / (1216 * 32), abs=1e-4)


def test_what_is_usual_can_be_kept_and_is_read_back():
    up = LayerSpec("up", "conv_transpose2d", (8, 7, 3, 3), (8, 10, 10), (7, 20, 20), 51_200)
    layers = [*LAYERS, up]
    menu = menu_of(layers, BOARD)
    found = usual(layers, menu)
    assert parse(str(found)) == found
    whole = {name: pairs if PAIRS[0] in pairs else [PAIRS[0], *pairs] for name, pairs in menu.items()}
    (limit,) = limits(found, layers, {"size": cost.get("size").table(layers, whole, BOARD)})
    assert limit.holds({"a": PAIRS[1], "b": PAIRS[1], "up": PAIRS[0]})
