"""HTML and SVG as nested calls, escaped unless it says it is markup already.

>>> print(element("td", "<script>", class_="number", data_value=0.5))
<td class="number" data-value="0.5">&lt;script&gt;</td>
"""

import html
import re
from typing import Any

# Control characters are parse errors in HTML and lone surrogates cannot be written as
# UTF-8, yet both may stand in a JSON string.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset(("img", "input", "link", "meta", "wbr"))


class Markup(str):
    """A string that is HTML already and is not escaped again."""


def escaped(value: Any) -> Markup:
    """``value`` as text that means nothing to a browser, in an element or a quoted attribute."""
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True))


def element(tag: str, *children: Any, **attributes: Any) -> Markup:
    """One element.

    children: Markup stays, None is nothing, a list or tuple is its items, all else is
    escaped.  attributes: ``class_`` is class, an underscore a hyphen; None and False
    leave the attribute out, True writes it without a value.
    """
    opened = "<" + tag + "".join(_attribute(name, value) for name, value in attributes.items()) + ">"
    if tag in _VOID:
        return Markup(opened)
    return Markup(opened + joined(children) + "</" + tag + ">")


def dotted(name: str) -> Markup:
    """A layer's name as code that may break behind its dots and nowhere else."""
    parts = name.split(".")
    return element("code", [[part, ".", element("wbr")] for part in parts[:-1]], parts[-1])


def table(label: str, *children: Any, style: str | None = None) -> Markup:
    """A table that scrolls sideways by itself where the page is narrow, by keyboard too; ``label`` is read out."""
    inner = element("table", *children, class_=style)
    return element("div", inner, class_="scroller", tabindex="0", role="region", aria_label=label)


def joined(children: Any) -> Markup:
    """Children one behind the other, see :func:`element`."""
    if children is None:
        return Markup("")
    if isinstance(children, (list, tuple)) and not hasattr(children, "_fields"):
        return Markup("".join(joined(child) for child in children))
    return children if isinstance(children, Markup) else escaped(children)


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return " " + name if value is True else f' {name}="{escaped(value)}"'
