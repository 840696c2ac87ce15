"""A reader of the page that fails where tags are not balanced and keeps what the tests ask about."""

from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "input", "wbr"}


class Page(HTMLParser):
    """tags: every element as (name, attributes); words: all text outside style and script."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self._words: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"left open: {self._open}"

    @property
    def words(self) -> str:
        """The text of the page, no-break spaces as spaces."""
        return " ".join("".join(self._words).replace("\u00a0", " ").split())

    def count(self, tag: str) -> int:
        """How many elements are called ``tag``."""
        return sum(1 for name, _ in self.tags if name == tag)

    def values(self, attribute: str) -> list[str]:
        """The values of an attribute over all elements."""
        return [held[attribute] for _, held in self.tags if attribute in held]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute stands twice on {tag}: {names}"
        self._words.append("" if tag == "wbr" else " ")
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()
        self._words.append(" ")

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "script"):
            self._words.append(data)
