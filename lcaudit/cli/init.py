"""``lcaudit init``: settings and a workflow for a repository that holds a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lcaudit.cli._config_file import NAME
from lcaudit.cli._help import Command, option
from lcaudit.cli._streams import note, show
from lcaudit.core.errors import UsageError
from lcaudit.core.files import write_together
from lcaudit.core.templates import folder
from lcaudit.core.text import display_name

#: --ci → template, where its file goes, and what is left to do.
SERVICES = {
    "github": ("lcaudit.github.yml", Path(".github/workflows/lcaudit.yml"), "commit both files"),
    "gitlab": (
        "lcaudit.gitlab-ci.yml",
        Path("lcaudit.gitlab-ci.yml"),
        "add `include: {local: lcaudit.gitlab-ci.yml}` to .gitlab-ci.yml",
    ),
}
#: What the templates say in place of the user's own; each stands in double quotes.
_MODEL, _DATA = '"model.safetensors"', '"digits"'


@click.command(
    name="init",
    cls=Command,
    short_help="Write settings and a workflow.",
    examples=("init", "init --model nets/resnet20.safetensors --data cifar10 --ci github"),
)
@option("Files", "--model", metavar="PATH", default="model.safetensors", show_default=True,
        help="The checkpoint that the workflow audits.")  # fmt: skip
@option("Files", "--data", metavar="NAME|PATH", default="digits", show_default=True,
        help="What to run through the network, as for `lcaudit check`.")  # fmt: skip
@option("Files", "--ci", type=click.Choice([*SERVICES, "none"]), default="none", show_default=True,
        help="Also write a workflow for this service.")  # fmt: skip
def COMMAND(model: str, data: str, ci: str) -> int:
    """Write lcaudit.toml into this folder, and a workflow that audits on every change.

    Nothing that exists is overwritten: if one of the files is there, none is written.
    """
    files = [(Path(NAME), _filled(NAME, _DATA, data))]
    steps = ["`lcaudit check --show-settings` shows what holds"]
    if ci in SERVICES:
        template, path, step = SERVICES[ci]
        files.append((path, _filled(template, _MODEL, model)))
        steps.append(step)
    for path, _ in files:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists and is not overwritten", "move it away, or edit it by hand")
    write_together(files)
    note("written: " + "  ".join(str(path) for path, _ in files))
    show("\n".join(f"next: {step}" for step in steps))
    return 0


def _filled(name: str, placeholder: str, value: str) -> str:
    """A template with one value in it; JSON's quoting is also TOML's and YAML's.

    Raises:
        UsageError: the value would be more than text to a service.
    """
    if not value.isprintable() or not value or "$" in value:
        raise UsageError(f"{display_name(value)!r} cannot stand in a workflow", "use a plain path without $")
    text = (folder() / "init" / name).read_text(encoding="utf-8")
    assert text.count(placeholder) == 1, f"{name} has one place for {placeholder}"
    return text.replace(placeholder, json.dumps(value, ensure_ascii=False))
