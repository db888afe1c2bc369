"""Links from the first use of a term to its definition."""

import re
from collections.abc import Iterable

from markupsafe import Markup, escape

from experiments.reporting.document import Definition


class FirstUses:
    """Marks up the texts of a page, which it is to be given in their order."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self._left = {
            re.compile(rf"(?<![\w-])(?:{word})(?![\w-])"): definition.name
            for definition in definitions
            for word in definition.words
        }

    def link(self, text: str) -> Markup:
        """The text, with its first uses as links; of those that overlap, the first one."""
        uses = [
            (match.start(), match.end(), pattern)
            for pattern in self._left
            if (match := pattern.search(text))
        ]
        marked, done = Markup(), 0
        for start, end, pattern in sorted(uses, key=lambda use: use[:2]):
            if start < done:
                continue
            name = self._left.pop(pattern)
            term = Markup('<a class="term" href="#term-{}">{}</a>').format(name, text[start:end])
            marked += escape(text[done:start]) + term
            done = end
        return marked + escape(text[done:])
