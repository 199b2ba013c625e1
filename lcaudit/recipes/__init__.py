"""What is done to the weights: recipes applied to modules, kept in files, read from strangers, undone by name.

One file per operation, each defining ``OPERATION``; the folder is the registry. An operation changes a
module, knows the names that the change gives to tensors, and predicts the second moments that follow.
Nothing in a recipe is believed: paths must be those of modules of the right type, numbers must be finite and
as many as there are channels, and no text from it is ever run or looked up as code.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from lcaudit.core import plugins
from lcaudit.core.errors import AmbiguousArchitecture, LimitExceeded, MalformedInput, UnknownArchitecture
from lcaudit.core.files import read_regular
from lcaudit.core.measurements import Evidence
from lcaudit.core.recipe import METADATA_KEY, VERSION, Recipe, Step
from lcaudit.core.serial import dumps, load, parse_json
from lcaudit.core.text import display_name
from lcaudit.core.types import Checkpoint, FactorMoments, Network
from lcaudit.recipes._base import LAYERS, Operation, check_step, plain_path, zero_padding

#: A recipe names a few numbers per channel; no network needs a larger one.
MOST_BYTES = 64 * 2**20
MOST_STEPS = 10_000
_FAMILY = re.compile(r"[a-z0-9_]{1,60}")

__all__ = [
    "LAYERS",
    "apply",
    "apply_recipe",
    "made",
    "parse",
    "plain_path",
    "predict",
    "read_file",
    "rebuilt",
    "renamed",
    "written",
    "zero_padding",
]


def written(recipe: Recipe) -> str:
    """The recipe as JSON text; :func:`parse` reads it back, every number the same."""
    return dumps(recipe)


def parse(text: str | bytes, where: str) -> Recipe:
    """A recipe from JSON text, checked as far as that is possible without the network.

    Raises:
        MalformedInput: not a recipe, or of another version. LimitExceeded: larger than any network needs.
    """
    if len(text) > MOST_BYTES:
        raise LimitExceeded(f"{where}: a recipe of more than {MOST_BYTES:,} bytes")
    try:
        recipe = load(Recipe, parse_json(text))
    except MalformedInput as error:
        raise MalformedInput(
            f"{where}: not a recipe of lcaudit: {error.message.replace('report', 'recipe', 1)}",
            "make it again with lcaudit fix",
        ) from None
    if recipe.version != VERSION:
        raise MalformedInput(
            f"{where}: a recipe of version {display_name(recipe.version, 20)}, expected {VERSION}",
            "use the version of lcaudit that made it",
        )
    if not _FAMILY.fullmatch(recipe.family):  # it is handed on as a choice of family, and must never name a file
        raise MalformedInput(f"{where}: {display_name(recipe.family, 40)!r} is no family of networks")
    if len(recipe.steps) > MOST_STEPS:
        raise LimitExceeded(f"{where}: a recipe of {len(recipe.steps):,} steps, at most {MOST_STEPS:,} are read")
    for step in recipe.steps:
        check_step(step, _operation(step))
    return recipe


def read_file(path: Path) -> Recipe:
    """The recipe in a ``.recipe.json`` file, or in the metadata of a safetensors file.

    Raises:
        MalformedInput, LimitExceeded: it cannot be read, or holds none.
    """
    label = display_name(path.name)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as opened:
                text = (opened.metadata() or {}).get(METADATA_KEY)
        except (SafetensorError, OSError):
            raise MalformedInput(f"{label}: cannot be read as safetensors") from None
        if text is None:
            raise MalformedInput(f"{label}: holds no recipe", "pass a file that lcaudit fix wrote")
        return parse(text, label)
    return parse(read_regular(path, MOST_BYTES), label)


def apply(module: torch.nn.Module, steps: tuple[Step, ...]) -> None:
    """Change ``module`` in place, step by step.

    Raises:
        MalformedInput: a step does not fit the module; the steps before it stay.
    """
    with torch.no_grad():
        for step in steps:
            operation = _operation(step)
            check_step(step, operation)
            operation.apply(module, step)


def apply_recipe(model: torch.nn.Module, recipe: str | Path | Mapping[str, object] | Recipe) -> torch.nn.Module:
    """Put the changes of a recipe into your own network, which holds the weights that the recipe was made from.

    ``lcaudit.apply_recipe(model, "fixed.recipe.json")`` inserts the same modules and folds the same numbers as
    ``lcaudit fix`` did; afterwards the tensors of its output file fit ``model.load_state_dict`` too. The model
    is changed in place, whole or not at all.

    Args:
        model: its modules have the names they have in the checkpoint.
        recipe: a ``.recipe.json`` file, the safetensors file that ``lcaudit fix`` wrote, or either's content.

    Returns:
        ``model``.

    Raises:
        MalformedInput: the recipe cannot be read, or does not fit this network.

    Cost: a copy of the network, to try the steps on.
    """
    if isinstance(recipe, (str, Path)):
        recipe = read_file(Path(recipe))
    elif isinstance(recipe, Mapping):
        recipe = load(Recipe, dict(recipe))
    apply(copy.deepcopy(model), recipe.steps)
    apply(model, recipe.steps)
    return model


def predict(moments: Mapping[str, FactorMoments], steps: tuple[Step, ...]) -> dict[str, FactorMoments] | None:
    """The second moments that follow from ``steps``, in closed form, by the layers' names after them.

    ``None`` where a step changes the function, so that nothing follows from the moments before.
    """
    found = dict(moments)
    for step in steps:
        operation = _operation(step)
        if operation.predict is None:
            return None
        operation.predict(found, step)
        found = {operation.renamed(step).get(name, name): one for name, one in found.items()}
    return found


def renamed(name: str, steps: tuple[Step, ...]) -> str:
    """What the layer ``name`` is called after ``steps``."""
    for step in steps:
        name = _operation(step).renamed(step).get(name, name)
    return name


def made(checkpoint: Checkpoint) -> bool:
    """Whether the file says that ``lcaudit fix`` made it."""
    return METADATA_KEY in checkpoint.texts


def rebuilt(checkpoint: Checkpoint, resolve: Callable[[Checkpoint, str | None], Network]) -> Network:
    """The network of a checkpoint: ``resolve``'s own, or where the file holds a recipe the changed one.

    The stored tensors are given the names and shapes that they had before the recipe, so that the original
    network is recognised as always; the recipe is applied to that, and every stored tensor is put in.

    Args:
        resolve: (checkpoint, family to choose where several fit) → network.

    Raises:
        MalformedInput, LimitExceeded: the recipe does not fit the tensors. Whatever ``resolve`` raises.
    """
    text = checkpoint.texts.get(METADATA_KEY)
    if text is None:
        return resolve(checkpoint, None)
    label = display_name(checkpoint.record.name)
    recipe = parse(text, f"the recipe in {label}")
    before = _before(checkpoint, recipe)
    try:
        network = resolve(before, None)
    except AmbiguousArchitecture:
        network = resolve(before, recipe.family)
    layers = [name for name, part in network.module.named_modules() if isinstance(part, LAYERS)]
    apply(network.module, recipe.steps)
    _load(network.module, checkpoint)
    moved = {renamed(name, recipe.steps): name for name in layers}
    record = replace(
        network.record,
        title=f"{network.record.title}, changed by lcaudit fix",
        parameters=sum(parameter.numel() for parameter in network.module.parameters()),
        evidence=(
            *network.record.evidence,
            Evidence("recipe", f"made by lcaudit fix from {display_name(recipe.source, 80)}: {_told(recipe)}"),
        ),
        former_names={now: then for now, then in moved.items() if now != then},
    )
    return replace(network, record=record)


def _told(recipe: Recipe) -> str:
    fixes = dict.fromkeys(step.fix for step in recipe.steps)
    return ", ".join(display_name(fix, 40) for fix in fixes) or "no step"


def _before(checkpoint: Checkpoint, recipe: Recipe) -> Checkpoint:
    tensors = dict(checkpoint.tensors)
    for step in reversed(recipe.steps):
        _operation(step).separate(tensors, step)
    stored = sum(tensor.numel() for tensor in checkpoint.tensors.values())
    if sum(tensor.numel() for tensor in tensors.values()) > max(2**28, 64 * stored):
        raise LimitExceeded("the recipe asks for a network far larger than its file")
    texts = {key: text for key, text in checkpoint.texts.items() if key != METADATA_KEY}
    return replace(checkpoint, tensors=dict(sorted(tensors.items())), texts=texts)


def _load(module: torch.nn.Module, checkpoint: Checkpoint) -> None:
    state = module.state_dict()
    stored = {key: value for key, value in checkpoint.tensors.items() if key in state}
    lacking = [key for key in state if key not in stored and not key.endswith("num_batches_tracked")]
    extra = [key for key in checkpoint.tensors if key not in state]
    uneven = [key for key, value in stored.items() if value.shape != state[key].shape]
    if lacking or extra or uneven:
        key = (lacking or extra or uneven)[0]
        fault = "is missing" if lacking else "has no place" if extra else "has another shape"
        raise UnknownArchitecture(
            f"{display_name(checkpoint.record.name)}: {display_name(key)} {fault} in the network that its recipe makes",
            "make the file again with lcaudit fix",
        )
    module.load_state_dict(stored, strict=False)
    module.eval().requires_grad_(False)


def _operation(step: Step) -> Operation:
    names = plugins.names(__name__)
    if step.operation not in names:
        raise MalformedInput(
            f"the recipe asks for {display_name(step.operation, 40)!r}, which is none of {', '.join(names)}",
            "use the version of lcaudit that made it",
        )
    operation: Operation = plugins.load(__name__, step.operation, "OPERATION")
    return operation
