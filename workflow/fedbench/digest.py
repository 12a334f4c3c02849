"""A fingerprint of the code that a stage runs, so that an edit of the package reruns exactly the stages that use it."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

# The vocabulary and what else lies below every stage: what it holds for a stage reaches it as a parameter or not at
# all, and following it would make each new configuration key, or a new version number, retrain every model.
FLOOR = frozenset({"__init__", "spec", "errors", "files", "digest"})


def code_digest(*modules: str, without: Iterable[str] = (), package: Path = PACKAGE) -> str:
    """Return the fingerprint of `modules` and of everything in the package that they import: `file:digits` for each.

    Comments, formatting and docstrings do not count. Imports inside functions do. A module that is imported by a
    computed name (a strategy) has to be named. Each file has digits of its own so that `fedbench.why` can name it.

    Args:
        modules: dotted names below the package, "flows.clean" or "evaluation" (every module of that sub-package).
        without: dotted names that are not followed, because this stage never calls them.
        package: the folder of the package.

    Raises:
        FileNotFoundError: a name is no module of the package.
    """
    found: set[Path] = set()
    barred = {path for name in (*FLOOR, *without) for path in _files(name, package)}
    queue = [path for name in modules for path in _required(name, package)]
    while queue:
        path = queue.pop()
        if path not in found and path not in barred:
            found.add(path)
            queue += _imports(path, package)
    return " ".join(f"{path.relative_to(package).as_posix()}:{_digits(path)}" for path in sorted(found))


def script_digest(script: Path) -> str:
    """Return the fingerprint of a rule's script: `file:digits` over its syntax."""
    return f"{script.parent.name}/{script.name}:{_digits(script)}"


def _files(name: str, package: Path) -> list[Path]:
    """Return the files of one module, or all files of a sub-package."""
    stem = package.joinpath(*name.split("."))
    return sorted(stem.rglob("*.py")) if stem.is_dir() else [stem.with_suffix(".py")]


def _required(name: str, package: Path) -> list[Path]:
    files = _files(name, package)
    if not files or not all(path.is_file() for path in files):
        raise FileNotFoundError(f"{package.name}.{name} is no module of the package")
    return [*files, *_module(f"{package.name}.{name}", package)]


@cache
def _digits(path: Path) -> str:
    """Return 12 hexadecimal digits over the source as Python would write it, without comments and docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]


@cache
def _imports(path: Path, package: Path) -> list[Path]:
    """Return the files of the package that a file imports, with the packages that hold them."""
    return [file for name in _names(path, package.name) for file in _module(name, package)]


def _names(path: Path, package: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(f"{package}."))
        elif isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(f"{package}."):
            # `from package.part import name`: the name may be a module of its own.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(name: str, package: Path) -> Iterator[Path]:
    """Yield the file behind each step of a dotted name; the last step may be a function or a class."""
    parts = name.split(".")[1:]
    for depth in range(len(parts) + 1):
        stem = package.joinpath(*parts[:depth])
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file() and file.is_relative_to(package):
                yield file
