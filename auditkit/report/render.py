"""A run's report: one HTML file that needs no network, no other file and no script to be read.

`render` is the whole of it: draw the sections' charts, put the worst findings into a table, fill
the template. A plugin's template `<audit>/report.html`, where there is one, takes the place of
`auditkit/report.html`, which it may extend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, TemplateError

from auditkit.errors import PluginError
from auditkit.report.building import report_context, section_views, shown_findings
from auditkit.report.page import CORE, environment
from auditkit.report.previews import Previews, stored_previews
from auditkit.report.views import SectionView
from auditkit.showing import Section
from auditkit.store import Run

MAX_BYTES = 2_000_000
"""A report is no larger than this; where it would be, fewer findings are shown."""


def render(
    run: Run,
    sections: Sequence[Section] = (),
    *,
    template_folders: Mapping[str, Path] | None = None,
) -> Path:
    """Write the report of a run into its folder, whole or not at all.

    Args:
        run: the stored run; nothing but its folder is read.
        sections: the parts between the answer and the table of findings.
        template_folders: folders of plugins' templates, by the name of their audit.

    Raises:
        PluginError: a section's chart cannot be drawn, or a template fails.
        StoreError: the run cannot be read.
    """
    html = to_html(run, sections, template_folders=template_folders)
    temporary = run.report.with_name(f".{run.report.name}.writing")
    try:
        temporary.write_text(html, encoding="utf-8", newline="\n")
        temporary.replace(run.report)
    finally:
        temporary.unlink(missing_ok=True)
    return run.report


def to_html(
    run: Run,
    sections: Sequence[Section] = (),
    *,
    template_folders: Mapping[str, Path] | None = None,
    max_bytes: int = MAX_BYTES,
) -> str:
    """The report of a run, as text of at most `max_bytes` where leaving out findings can do it.

    Raises:
        PluginError: a section's chart cannot be drawn, or a template fails.
        StoreError: the run cannot be read.
    """
    templates = environment(template_folders or {})
    previews = stored_previews(run.previews)
    views = section_views(sections, previews)
    wanted = min(run.record.top, len(run.findings))
    html = _filled(templates, run, views, previews, count=wanted, wanted=wanted)
    count = wanted
    while (excess := len(html.encode()) - max_bytes) > 0 and count > 0:
        bare = len(_filled(templates, run, views, previews, count=0, wanted=wanted).encode())
        per_row = max(1.0, (max_bytes + excess - bare) / count)
        count = max(0, count - max(1, int(1.05 * excess / per_row)))
        html = _filled(templates, run, views, previews, count=count, wanted=wanted)
    return html


def _filled(
    templates: Environment,
    run: Run,
    sections: Sequence[SectionView],
    previews: Previews,
    *,
    count: int,
    wanted: int,
) -> str:
    findings = shown_findings(run, count, previews, cut_for_size=count < wanted)
    context = report_context(run, sections, findings)
    names = [f"{run.record.audit}/report.html", f"{CORE}/report.html"]
    try:
        return templates.select_template(names).render(report=context)
    except TemplateError as error:
        where = getattr(error, "name", None) or " or ".join(names)
        raise PluginError(
            f"The report of the {run.record.audit} audit cannot be rendered: {where}: "
            f"{error.message}; templates may use the fields of auditkit.report.context."
        ) from error
