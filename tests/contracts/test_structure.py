"""The shape of the package: who imports whom, how long files are, what is documented and exported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lcaudit

PACKAGE = Path(lcaudit.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
STAGES = frozenset(
    {
        "architectures",
        "capture",
        "checkpoints",
        "comparisons",
        "fixes",
        "probes",
        "recipes",
        "reports",
        "rules",
        "spectra",
    }
)
#: What each part may import beside itself and ``core``; the command line may import everything.
MAY_IMPORT = {
    "core": frozenset(),
    "demo": frozenset({"architectures", "probes"}),
    "opening": STAGES,
    "planning": STAGES | {"opening"},
    "audit": STAGES | {"opening"},
    "exporting": STAGES | {"opening"},
    "mend": STAGES | {"audit", "opening"},
    "__main__": frozenset({"cli"}),
    "cli": STAGES | {"audit", "demo", "exporting", "mend", "planning"},
    **{stage: frozenset() for stage in STAGES},
}
PARTS = frozenset(part for path in PACKAGE.iterdir() for part in (path.name, path.stem))
LONGEST_FILE = 400
DOTTED = re.compile(r"lcaudit(\.\w+)+")


def part(file: Path) -> str:
    """The first folder below the package, or the name of a file that lies directly in it."""
    inside = file.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imported(source: str) -> Iterator[str]:
    """Dotted names that ``source`` imports anywhere in it, and those it could import by a string."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            yield from [node.value] * (node.value.split(".")[1] in PARTS)  # lcaudit.toml is a file


def ours(names: Iterator[str]) -> set[str]:
    """The parts of lcaudit among imported names; ``lcaudit`` itself is the empty string."""
    split = [name.split(".") for name in names]
    parts = {words[1] if len(words) > 1 else "" for words in split if words[0] == "lcaudit"}
    return {"" if one == "__version__" else one for one in parts}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_form_a_star(file: Path) -> None:
    here = part(file)
    if here == "__init__":
        names = {"audit", "core", "recipes"}  # the public names
    else:
        assert here in MAY_IMPORT, f"{here}: say in MAY_IMPORT what it may import"
        names = MAY_IMPORT[here] | {here, "core", ""}
    found = ours(imported(file.read_text(encoding="utf-8")))
    assert found <= names, f"{file.relative_to(ROOT)} must not import {', '.join(sorted(found - names))}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_of_the_package_itself_only_the_version_is_used(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lcaudit"
    }
    assert used <= {"__version__"}


@pytest.mark.parametrize(
    ("source", "here"),
    [
        ("from lcaudit.rules import select", "capture"),
        ("from lcaudit import rules", "capture"),
        ("import lcaudit.rules as x", "core"),
        ("def f():\n    from lcaudit.probes import npz", "core"),
        ("plugins.load('lcaudit.reports', name, 'X')", "rules"),
        ("from lcaudit.audit import audit", "spectra"),
    ],
)
def test_the_star_test_sees_every_way_to_import(source: str, here: str) -> None:
    assert not ours(imported(source)) <= MAY_IMPORT[here] | {here, "core", ""}


def test_the_star_test_refuses_relative_imports() -> None:
    with pytest.raises(AssertionError, match="relative"):
        list(imported("from . import rules"))


def test_the_core_needs_nothing_but_itself_to_be_read() -> None:
    """Only the files that hand tensors on, and the one that asks about hardware, import torch."""
    with_torch = {
        file.stem
        for file in FILES
        if part(file) == "core" and any(name.split(".")[0] == "torch" for name in imported(file.read_text()))
    }
    assert with_torch <= {"types", "program", "machine"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_file_has_a_docstring_and_is_short(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring and docstring.strip()
    assert len(text.splitlines()) < LONGEST_FILE


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_public_name_is_documented(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare


def test_tests_have_unique_names() -> None:
    names = [file.name for file in (ROOT / "tests").rglob("*.py") if file.name not in ("__init__.py", "conftest.py")]
    assert len(set(names)) == len(names)


def test_public_names_can_be_imported() -> None:
    for name in lcaudit.__all__:
        assert getattr(lcaudit, name) is not None
    assert sorted(lcaudit.__all__) == lcaudit.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lcaudit.nothing  # noqa: B018


WAYS_TO_IMPORT = (
    "import lcaudit; f = lcaudit.audit",
    "from lcaudit import audit as f",
    "import lcaudit.audit; f = lcaudit.audit",
    "import lcaudit.audit; from lcaudit import audit as f",
    "import lcaudit; lcaudit.audit; f = lcaudit.audit",
    "from lcaudit.audit import audit as f",
    "import lcaudit.cli.check; from lcaudit import audit as f",
)
IMPORT_EACH_WAY = """
import sys
for way in {ways!r}:
    for name in [name for name in sys.modules if name.split(".")[0] == "lcaudit"]:
        del sys.modules[name]
    found = {{}}
    exec(way, found)
    try:
        found["f"]("absent.pt", "digits")
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_audit_can_be_called_however_it_is_imported() -> None:
    code = IMPORT_EACH_WAY.format(ways=WAYS_TO_IMPORT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["UsageError absent.pt: no such file or folder"] * len(WAYS_TO_IMPORT)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, lcaudit\n"
        "from lcaudit import AuditError, Finding, Report\n"
        "print([m for m in ('torch', 'numpy', 'click', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
