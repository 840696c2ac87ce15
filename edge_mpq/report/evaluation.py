"""The section of how a model's answers stand to the truth: figures, confusion matrix, curve and worst errors."""

from edge_mpq.records.evaluation import Evaluation
from edge_mpq.report import facts, plots, quantities
from edge_mpq.report.markup import Markup, element, joined, table
from edge_mpq.report.sections import gallery, pairs, quantity, section

_TITLES = {"iou": "IoU", "mean_iou": "Mean IoU"}


def evaluation(judged: Evaluation | None) -> Markup | None:
    """The section; None where nothing was judged."""
    if judged is None:
        return None
    figures = [
        (_TITLES.get(name, facts.titled(name)), quantity(quantities.percent(value)))
        for name, value in judged.figures.items()
    ]
    curve = _curve(judged)
    beside = element("div", _matrix(judged), curve, class_="pair") if curve else _matrix(judged)
    content = element("div", beside, pairs(figures, "figures"), class_="stack")
    return joined([section("evaluation", "Answers against the truth", content), _worst(judged)])


def _matrix(judged: Evaluation) -> Markup:
    """Counts of answers, and each as a share of its row."""
    heads = [element("th", f"{judged.unit}, true class", scope="col")] + [
        element("th", f"said {name}", scope="col", class_="number") for name in judged.classes
    ]
    body = []
    for name, row in zip(judged.classes, judged.confusion, strict=True):
        total = sum(row)
        cells = [
            element(
                "td",
                quantity(quantities.count(count)),
                element("div", str(quantities.percent(count / total)), class_="quiet") if total else None,
                class_="number" + (" subject" if said == name else ""),
                data_value=count,
            )
            for said, count in zip(judged.classes, row, strict=True)
        ]
        body.append(element("tr", element("th", name, scope="row"), cells))
    inner = element("thead", element("tr", heads)), element("tbody", body)
    caption = element("figcaption", f"Confusion matrix; the figures of one class are those of {judged.positive}.")
    return element("figure", table("Confusion matrix", *inner, style="compared"), caption)


def _curve(judged: Evaluation) -> Markup | None:
    if len(judged.curve) < 2:
        return None
    row = judged.confusion[judged.classes.index(judged.positive)]
    chance = sum(row) / max(1, sum(map(sum, judged.confusion)))
    label = f"Precision against recall of {judged.positive}"
    caption = element("figcaption", f"{label}; the dashed line is chance.")
    return element("figure", plots.precision_against_recall(judged.curve, chance, label), caption)


def _worst(judged: Evaluation) -> Markup | None:
    if not judged.worst:
        return None
    return section("worst", "Worst errors", gallery(judged.worst))
