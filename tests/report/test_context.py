"""Every name in the templates leads to a field of the contract, and no field is left unused."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from jinja2 import meta, nodes

from auditkit.report import context
from auditkit.report.context import ReportContext
from auditkit.report.page import core_templates, environment
from auditkit.report.views import FindingView, GalleryView, SectionView

GIVEN: dict[str, object] = {
    "report": ReportContext,
    "section": SectionView,
    "gallery": GalleryView,
    "row": FindingView,
}
"""What a template may be given: the report, in a section's its section, and so on inward."""

TEMPLATES = sorted(
    f"auditkit/{path.relative_to(core_templates()).as_posix()}"
    for path in core_templates().rglob("*.html")
)
VIEWS = [value for value in vars(context).values() if is_dataclass(value)]


class Walk:
    """Follows names through one template and notes which fields they reach."""

    def __init__(self) -> None:
        self.used: set[tuple[str, str]] = set()

    def type_of(self, node: nodes.Node, names: dict[str, object]) -> object:
        if isinstance(node, nodes.Name):
            return names.get(node.name)
        if isinstance(node, nodes.Getattr):
            return self.field(self.type_of(node.node, names), node.attr)
        if isinstance(node, nodes.Getitem):
            return element(self.type_of(node.node, names))
        return None

    def field(self, owner: object, name: str) -> object:
        if owner is None:
            return None
        assert isinstance(owner, type), f"{name} of {owner}"
        hints = get_type_hints(owner)
        assert name in hints, f"{owner.__name__} has no field {name!r}"
        self.used.add((owner.__name__, name))
        return without_none(hints[name])

    def walk(self, node: nodes.Node, names: dict[str, object]) -> None:
        if isinstance(node, nodes.For):
            self.walk(node.iter, names)
            assert isinstance(node.target, nodes.Name)
            inner = {**names, node.target.name: element(self.type_of(node.iter, names))}
            for part in [*node.body, *node.else_, *([node.test] if node.test else [])]:
                self.walk(part, inner)
            return
        if isinstance(node, nodes.Include) and isinstance(node.template, nodes.Const):
            self.walk(parsed(node.template.value), dict(names))
        if isinstance(node, nodes.With):
            names = dict(names)
            for target, value in zip(node.targets, node.values, strict=True):
                assert isinstance(target, nodes.Name)
                names[target.name] = self.type_of(value, names)
        if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            names[node.target.name] = self.type_of(node.node, names)
        self.type_of(node, names)
        for child in node.iter_child_nodes():
            self.walk(child, names)


def without_none(hint: object) -> object:
    if get_origin(hint) in (Union, UnionType):
        (hint,) = [part for part in get_args(hint) if part is not NoneType]
    return hint


def element(hint: object) -> object:
    return get_args(hint)[0] if get_origin(hint) is tuple else None


def parsed(name: str) -> nodes.Template:
    templates = environment({})
    assert templates.loader is not None
    return templates.parse(templates.loader.get_source(templates, name)[0])


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_uses_only_what_it_is_given(name: str) -> None:
    tree = parsed(name)
    assert meta.find_undeclared_variables(tree) <= set(GIVEN)
    Walk().walk(tree, dict(GIVEN))


def test_every_field_is_used_by_some_template() -> None:
    walk = Walk()
    for name in TEMPLATES:
        walk.walk(parsed(name), dict(GIVEN))
    declared = {(view.__name__, field.name) for view in VIEWS for field in fields(view)}
    assert declared - walk.used == set()


def test_a_misspelt_field_would_be_found() -> None:
    tree = environment({}).parse("{% for s in report.sections %}{{ s.titel }}{% endfor %}")
    with pytest.raises(AssertionError, match="SectionView has no field 'titel'"):
        Walk().walk(tree, dict(GIVEN))


@pytest.mark.parametrize("view", VIEWS)
def test_every_field_is_documented_in_its_place(view: type) -> None:
    lines = (view.__doc__ or "").partition("Attributes:")[2].splitlines()
    documented = [line.partition(":")[0].strip() for line in lines if line.strip()]
    assert documented == [field.name for field in fields(view)]
