"""Subjects that Python code makes: `package.module:name` and `path/file.py:name`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from auditkit.errors import AuditkitError, SubjectReferenceError, did_you_mean
from auditkit.subject import Subject

T = TypeVar("T")

_DEFAULT_NAME = "subject"  # what `Subject.name` is where the user gives none


def is_object_reference(reference: str) -> bool:
    """Whether the reference has the form `module:name`, and is not simply a path that exists."""
    module, colon, _ = reference.rpartition(":")
    names_code = module.endswith(".py") or all(part.isidentifier() for part in module.split("."))
    return bool(colon) and names_code and not Path(reference).exists()


def load_object(reference: str) -> Subject:
    """The subject at `module:name`: the object itself, or what it returns when called.

    The folder of the file, or the working directory for a module, can be imported from meanwhile.
    The code runs with all the rights of the user: a reference is as trusted as `python file.py`.

    Raises:
        SubjectReferenceError: no such module or name, code that raises, or another type.
        AuditkitError: what the code itself raised of that kind.
    """
    place, _, name = reference.rpartition(":")
    folder = Path(place).expanduser().parent if place.endswith(".py") else Path()
    with _importable(folder.resolve()):
        module = _import_file(place) if place.endswith(".py") else _import_module(place)
        found = _attribute(module, name, place)
        if not isinstance(found, Subject) and callable(found) and not isinstance(found, type):
            function = _without_arguments(found, reference)
            found = _guarded(function, f"Calling {reference}", module)
    if not isinstance(found, Subject):
        raise SubjectReferenceError(
            f"{reference} gives an object of type {type(found).__qualname__}: expected an "
            "auditkit.Subject, or a function without arguments that returns one."
        )
    return replace(found, name=reference) if found.name == _DEFAULT_NAME else found


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _import_file(place: str) -> ModuleType:
    path = Path(place).expanduser()
    if not path.is_file():
        known = [other.name for other in path.parent.glob("*.py")]
        raise SubjectReferenceError(
            f"There is no Python file {place!r}: {did_you_mean(path.name, known)}"
        )
    name = f"auditkit_subject_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise SubjectReferenceError(f"{place!r} cannot be imported as Python code.")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    sys.modules[name] = module
    try:
        _guarded(lambda: loader.exec_module(module), f"Importing {place}", module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _import_module(place: str) -> ModuleType:
    try:
        return _guarded(lambda: importlib.import_module(place), f"Importing {place}", None)
    except SubjectReferenceError as error:
        cause = error.__cause__
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if missing is None or not f"{place}.".startswith(f"{missing}."):
            raise
        parent, _, last = missing.rpartition(".")
        known = _modules_in(parent)
        hint = did_you_mean(last, known) if known else "install it, or run where it can be found."
        raise SubjectReferenceError(
            f"There is no module {missing!r} to import {place!r} from: {hint}"
        ) from error


def _modules_in(parent: str) -> list[str]:
    """The modules of a package, or those of the working directory."""
    folders = list(sys.modules[parent].__path__) if parent in sys.modules else [str(Path.cwd())]
    return [module.name for module in pkgutil.iter_modules(folders)]


def _attribute(module: ModuleType, name: str, place: str) -> object:
    if name in vars(module):
        found: object = vars(module)[name]
        return found
    public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
    likely = [
        key
        for key, value in public.items()
        if isinstance(value, Subject)
        or (inspect.isfunction(value) and value.__module__ == module.__name__)
    ]
    others = [key for key, value in public.items() if not isinstance(value, ModuleType)]
    raise SubjectReferenceError(
        f"{place} has nothing called {name!r}: {did_you_mean(name, likely or others)}"
    )


def _without_arguments(function: Callable[..., object], reference: str) -> Callable[[], object]:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise SubjectReferenceError(
            f"{reference} is a function that needs arguments ({error}): give one without, that "
            "returns the subject."
        ) from error
    except ValueError:
        pass  # no signature to look at: the call itself will tell
    return function


def _guarded(action: Callable[[], T], doing: str, module: ModuleType | None) -> T:
    """The action's result; whatever it raises becomes one sentence."""
    try:
        return action()
    except AuditkitError:
        raise
    except (Exception, SystemExit) as error:
        text = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
        raise SubjectReferenceError(
            f"{doing} raised {reason} ({_where(error, module)}): mend the code, or run it with "
            "--debug to see the whole traceback."
        ) from error


def _where(error: BaseException, module: ModuleType | None) -> str:
    """The innermost line of the user's own file, or of whatever raised."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno} of {Path(error.filename or '?').name}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen")
    ]
    own = [frame for frame in frames if module and frame.filename == module.__file__]
    chosen = (own or frames)[-1:]
    return f"line {chosen[0].lineno} of {Path(chosen[0].filename).name}" if chosen else "no line"
