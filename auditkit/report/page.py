"""The page around a report: its policy, stylesheet and scripts, and where templates are found.

The Content-Security-Policy names what may be in the page, by hash, and allows nothing else: no
request to anywhere, no other script or style, no form, frame or plugin. Even markup that got past
the escaping of data could neither run nor call home.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

CORE = "auditkit"
"""The name under which auditkit's own templates are found."""

_END = re.compile(r"</(?=script|style)", re.IGNORECASE)


def environment(template_folders: Mapping[str, Path]) -> Environment:
    """Where templates come from and how they are read: strictly, with everything escaped.

    Args:
        template_folders: folders of plugins' templates, by the name of their audit.
    """
    folders = {**template_folders, CORE: core_templates()}
    return Environment(
        loader=PrefixLoader({name: FileSystemLoader(path) for name, path in folders.items()}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def core_templates() -> Path:
    """The folder of auditkit's own templates: in the installed package, or in the checkout."""
    package = Path(__file__).parent.parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


@cache
def style() -> str:
    """The stylesheet."""
    return _embeddable((core_templates() / "report.css").read_text(encoding="utf-8"))


@cache
def scripts() -> tuple[str, ...]:
    """The scripts, in the order they run: DataTables as itables bundles it, then the report's."""
    bundle = _bundle().read_text(encoding="utf-8")
    own = (core_templates() / "report.js").read_text(encoding="utf-8")
    return _embeddable(bundle), _embeddable(own)


def policy(style: str, scripts: tuple[str, ...]) -> str:
    """The Content-Security-Policy that allows these, and images within the page, alone."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(_hash(script) for script in scripts)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def style_element(style: str) -> Markup:
    """The stylesheet as an element."""
    return Markup(f"<style>{style}</style>")  # noqa: S704 - a file of auditkit's, holds no data


def script_element(script: str) -> Markup:
    """A script as an element."""
    return Markup(  # noqa: S704 - a file of auditkit's or itables', holds no data
        f'<script type="module">{script}</script>'
    )


def _bundle() -> Path:
    """The bundle, found without importing itables, which reads settings from the current folder."""
    return Path(str(metadata.distribution("itables").locate_file("itables/html/dt_bundle.js")))


def _embeddable(text: str) -> str:
    r"""A script or style that cannot end its element early.

    Within script, `<!--` followed by `<script` would hide the end of the element; `<\!--` and `<\/`
    mean the same in strings and regular expressions. Browsers hash text with plain line ends.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return _END.sub(r"<\\/", plain).replace("<!--", r"<\!--")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
