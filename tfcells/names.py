"""Names of classes and files as people are shown them, in figures, reports and terminals; files keep the true ones."""

import re
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # and what breaks a line or a paragraph


def visible(text: str) -> str:
    r"""Text with control characters as escapes: a tab is shown as `\t`.

    There is no glyph to draw a tab with, a line break tears a table, and an escape character commands a terminal.
    """
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def drawn(text: str) -> str:
    """`visible` text as matplotlib draws it letter by letter; between dollar signs it would look for a formula."""
    return visible(text).replace("$", r"\$")
