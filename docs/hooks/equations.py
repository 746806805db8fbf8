"""Equations of the documentation as MathML, which browsers draw without a script.

A hook of mkdocs: `pymdownx.arithmatex` marks what stands between dollar signs, and this converts it
while the site is built.
"""

from __future__ import annotations

import html
import re

_MARKED = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_of_mkdocs: object) -> str:
    """The HTML of a page with its equations converted; mkdocs calls it for every page."""
    return _MARKED.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert  # noqa: PLC0415 - tests import this file without it

    display = "block" if found[1] == "div" else "inline"
    return str(convert(html.unescape(found[2]), display=display))
