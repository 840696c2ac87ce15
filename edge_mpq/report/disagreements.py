"""The section of pictures that the planned engine answers least like fp32."""

from collections.abc import Sequence

from edge_mpq.report.markup import Markup, element
from edge_mpq.report.sections import gallery, section


def disagreements(shown: Sequence[Sequence[str]]) -> Markup | None:
    """The section; None where no picture is answered otherwise."""
    if not shown:
        return None
    words = "Of the test pictures, those whose answer the plan moved furthest from that of fp32, the furthest first."
    return section(
        "disagreements", "Where the plan changes the answer", element("p", words, class_="prose"), gallery(shown)
    )
