"""Charts as inline SVG that is readable in light and dark mode, drawn without a network.

Altair describes a chart and vl-convert draws it. The colours of `COLOURS` are exchanged for the
stylesheet's variables afterwards, so a chart that keeps to the theme follows the page's mode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeAlias, Union
from xml.etree import ElementTree as ET

from markupsafe import Markup

from auditkit.errors import PluginError
from auditkit.showing import Figure

Json: TypeAlias = Union[Mapping[str, "Json"], list["Json"], str, float, bool, None]

INK, MUTED, LINE = "#1c2733", "#5a6876", "#d5dce3"
CATEGORIES = (
    *("#2a6fb0", "#c4612d", "#2f8a68", "#8a5bb5"),
    *("#a8841f", "#b8456f", "#4a8fa8", "#6f7a86"),
)

COLOURS: Mapping[str, str] = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    **{colour: f"var(--chart-{place})" for place, colour in enumerate(CATEGORIES, start=1)},
}
"""The theme's colours and what the stylesheet calls them."""

_TRIES = 5
"""How often a conversion is tried before its failure is taken for its own."""

_TEXT: Mapping[str, Json] = {
    "labelColor": MUTED,
    "labelFontSize": 12,
    "titleColor": INK,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
}

_RAMP: list[Json] = ["rgba(58, 134, 204, 0.06)", "rgba(58, 134, 204, 1)"]
"""More of the colour for more of the quantity, on whatever ground."""

THEME: Mapping[str, Json] = {
    "aria": False,
    "background": None,
    "font": "sans-serif",
    "padding": {"left": 20, "right": 28, "top": 4, "bottom": 4},  # fonts differ in width
    "view": {"stroke": None, "continuousWidth": 560, "continuousHeight": 260},
    "axis": {
        **_TEXT,
        "domainColor": LINE,
        "gridColor": LINE,
        "gridOpacity": 0.7,
        "labelLimit": 160,
        "labelPadding": 6,
        "tickColor": LINE,
        "titlePadding": 10,
    },
    "axisX": {"grid": False},
    "axisXDiscrete": {"labelAngle": -40},
    "header": _TEXT,
    "legend": {**_TEXT, "symbolStrokeWidth": 2},
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
    "text": {"color": INK, "fontSize": 12},
    "mark": {"color": CATEGORIES[0]},
    "bar": {"cornerRadiusEnd": 2},
    "line": {"strokeWidth": 2.25},
    "point": {"filled": True, "size": 40},
    "rule": {"color": MUTED},
    "range": {
        "category": list(CATEGORIES),
        "heatmap": _RAMP,
        "ramp": _RAMP,
    },
}
"""The look of every chart; what a chart sets itself comes first."""

_ALTAIR_VIEW = {"continuousWidth": 300, "continuousHeight": 300}
"""What Altair says of the size where the chart says nothing."""

_WIDE = 480
"""From this width on, in CSS pixels, a chart may need to be scrolled on a narrow screen."""

_SVG = "http://www.w3.org/2000/svg"
_HREFS = ("href", "{http://www.w3.org/1999/xlink}href")
_NOISE = {"aria-hidden", "aria-roledescription", "pointer-events", "role"}


def to_svg(figure: Figure, *, name: str) -> Markup:
    """A chart as an SVG element that is called by its caption.

    Args:
        figure: the chart and its caption.
        name: unique in the page; every id in the SVG begins with it.

    Raises:
        PluginError: the chart cannot be drawn.
    """
    root = ET.fromstring(_drawn(figure))  # noqa: S314 - written by vl-convert, has no entities
    _clean(root)
    _isolate(root, name)
    _describe(root, figure.caption, name)
    ET.register_namespace("", _SVG)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - the XML writer escapes


def _drawn(figure: Figure) -> str:
    import altair as alt  # noqa: PLC0415 - takes a second to import

    try:
        with alt.data_transformers.enable("default", max_rows=None):
            spec = figure.chart.to_dict()
        own = spec.pop("config", {})
        if own.get("view") == _ALTAIR_VIEW:
            del own["view"]
        version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
        return _converted(json.dumps({**spec, "config": merged(THEME, own)}), version)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PluginError(
            f"The chart {figure.caption!r} cannot be drawn: {reason}; charts hold their own data, "
            "and their encodings name columns of it."
        ) from error


def _converted(spec: str, version: str) -> str:
    """A Vega-Lite specification as SVG, by this version of Vega-Lite where there is one."""
    import vl_convert  # noqa: PLC0415 - starts a JavaScript engine

    known = version if version in vl_convert.get_vegalite_versions() else None
    for _ in range(_TRIES - 1):
        # What failed in an earlier conversion is at times raised in a later one.
        with suppress(ValueError):
            return vl_convert.vegalite_to_svg(spec, vl_version=known, allowed_base_urls=[])
    return vl_convert.vegalite_to_svg(spec, vl_version=known, allowed_base_urls=[])


def merged(base: Mapping[str, Json], over: Mapping[str, Json]) -> dict[str, Json]:
    """Two nested mappings as one; where both have a value, that of the second."""
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[key] = merged(before, value) if both else value  # type: ignore[arg-type]
    return result


def _clean(parent: ET.Element) -> None:
    """Drop what is not drawn, links, and what could run; name the theme's colours."""
    for child in list(parent):
        empty = child.get("d") in ("", "M0,0h0v0h0Z")
        if empty or child.get("display") == "none" or child.tag.endswith("}script"):
            parent.remove(child)
        else:
            _clean(child)
    for key, value in list(parent.attrib.items()):
        linked = key in _HREFS and not value.startswith(("#", "data:image/"))
        if key in _NOISE or key == "style" or key.startswith("on") or linked:
            del parent.attrib[key]
        elif key in ("fill", "stroke", "stop-color"):
            parent.set(key, COLOURS.get(value.lower(), value))


def _isolate(root: ET.Element, name: str) -> None:
    """Number the ids of one SVG anew under its own name, and let references follow.

    The ones it comes with count all charts drawn so far: they would differ from run to run.
    """
    every = [element for element in root.iter() if "id" in element.attrib]
    new = {element.attrib["id"]: f"{name}-{place}" for place, element in enumerate(every)}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, new[value])
            elif key in _HREFS and value.startswith("#"):
                element.set(key, f"#{new.get(value[1:], name)}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{new.get(value[5:-1], name)})")


def _describe(root: ET.Element, caption: str, name: str) -> None:
    description = ET.Element(f"{{{_SVG}}}desc", id=f"{name}-description")  # a title would pop up
    description.text = caption
    root.set("role", "img")
    root.set("class", "wide" if float(root.get("width", "0")) > _WIDE else "narrow")
    root.set("aria-labelledby", f"{name}-description")
    root.insert(0, description)
