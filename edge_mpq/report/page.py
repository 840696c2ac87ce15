"""The report as one HTML page that asks nothing of any network.

Style and script stand inside the page; a content security policy forbids every
request and every script but that one, so that a hostile layer name or caption could
do nothing even if it were not escaped.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from edge_mpq.records.report import RunReport
from edge_mpq.report import checks, disagreements, evaluation, explained, histograms, plan_sections, sections
from edge_mpq.report.markup import Markup, element


def render(report: RunReport) -> str:
    """The page of ``report``; RecordError where a value of it cannot be drawn.  Empty sections are left out."""
    checks.check(report)
    return document(
        report.title or "Report",
        sections.header(report),
        sections.headlines(report),
        sections.variants(report),
        evaluation.evaluation(report.evaluation),
        plan_sections.plan(report.variants),
        explained.explained(plan_sections.main_variant(report.variants)),
        histograms.histograms(report.histograms),
        plan_sections.timing(report.variants),
        disagreements.disagreements(report.disagreements),
        sections.stream(report.stream),
        sections.pictures(report),
        sections.further(report),
        sections.commands(report.commands, "Make this report again"),
    )


def document(title: str, *parts: Any, dress: Sequence[str] = (), script: Sequence[str] = ()) -> str:
    """A whole HTML document with ``parts`` as its body; dress, script: further files of this folder, behind its own."""
    look = "\n".join(_data(name) for name in ("style.css", *dress))
    code = "\n".join(_data(name) for name in ("page.js", *script))
    digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(look)),
    )
    body = element("body", element("main", parts), element("script", Markup(code)))
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def _data(name: str) -> str:
    return resources.files("edge_mpq.report").joinpath(name).read_text("utf-8")
