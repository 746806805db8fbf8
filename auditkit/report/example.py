"""One example as the reader sees it: a thumbnail, the beginning of a text, the cells of a row."""

from __future__ import annotations

import base64
import io

from PIL import Image

from auditkit.errors import StoreError
from auditkit.report.previews import StoredPreview
from auditkit.report.views import ExampleView, Fact

_TEXT_BEGINNING = 240
_FIRST_CELLS = 6
_SHOWN_PIXELS = 80
_SMALL_PNG = 2500


def example_view(preview: StoredPreview | None) -> ExampleView:
    """What the reader sees of an example, cut for a table's cell."""
    if preview is None or preview.kind == "none":
        return ExampleView(kind="none")
    if preview.kind == "image":
        return _image(preview.image)
    if preview.kind == "text":
        place = _break(preview.text)
        return ExampleView(kind="text", text=preview.text[:place], rest=preview.text[place:])
    cells = tuple(Fact(name=name, value=value) for name, value in preview.cells.items())
    return ExampleView(kind="row", cells=cells[:_FIRST_CELLS], more_cells=cells[_FIRST_CELLS:])


def _break(text: str) -> int:
    """Where a long text is broken: after the last whole word of its beginning."""
    if len(text) <= _TEXT_BEGINNING * 1.25:
        return len(text)
    space = text.rfind(" ", _TEXT_BEGINNING // 2, _TEXT_BEGINNING)
    return space + 1 if space > 0 else _TEXT_BEGINNING


def _image(png: bytes) -> ExampleView:
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            scale = _SHOWN_PIXELS / max(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)
            kind, content = ("png", png) if len(png) <= _SMALL_PNG else ("webp", _webp(image))
    except (OSError, SyntaxError) as error:  # what Pillow raises for broken files
        raise StoreError(f"A stored thumbnail cannot be read: {error}; run the audit again.") from (
            error
        )
    data = base64.b64encode(content).decode("ascii")
    return ExampleView(
        kind="image", image=f"data:image/{kind};base64,{data}", width=width, height=height
    )


def _webp(image: Image.Image) -> bytes:
    """A photograph in an eighth of the bytes its PNG takes."""
    written = io.BytesIO()
    image.save(written, format="WEBP", quality=80)
    return written.getvalue()
