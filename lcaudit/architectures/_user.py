"""``--arch file.py:factory``: the one place where code that the user named is run."""

from __future__ import annotations

import contextlib
import sys
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from lcaudit.core.errors import AuditError, UsageError
from lcaudit.core.files import read_regular
from lcaudit.core.language import OBJECTIVES, TextInput
from lcaudit.core.text import display_name

_HINT = "pass --arch file.py:factory, where factory() returns the nn.Module that the weights were saved from"
#: No source file is larger.
_MOST_BYTES = 16 * 2**20
#: Name of the user's file among the loaded modules; classes defined in it carry it.
_MODULE = "lcaudit_user_network"


@dataclass(frozen=True, slots=True)
class Built:
    """What a factory gave: see :func:`build`."""

    module: torch.nn.Module
    input_shape: tuple[int, ...]
    classes: int
    text: TextInput | None


def build(path: Path, factory: str) -> Built:
    """Run the file, call ``factory()`` and read what it says of its input and output.

    The file's folder can be imported from meanwhile, as when Python runs a script; no bytecode is left.

    Returns:
        The module, its ``input_shape`` (attribute of the module or of the factory, else ``()``), its
        number of classes (attribute ``num_classes`` likewise, else the last linear layer's, else 0), and how it reads
        text (attribute ``text`` likewise, a dict of what :class:`lcaudit.core.types.TextInput` says; a tokenizer's path
        is meant from where the file lies), ``None`` where it says nothing.

    Raises:
        UsageError: the file is absent, fails, or returns something else. Names the exception and line.
    """
    try:
        source = read_regular(path, _MOST_BYTES)
    except AuditError as error:
        raise UsageError(f"cannot read {error.message}", _HINT) from None
    shown = display_name(path.name)
    with _importing_from(path.resolve().parent), _reported(path, shown):
        module = types.ModuleType(_MODULE)
        module.__file__ = str(path)
        sys.modules[_MODULE] = module
        exec(compile(source, str(path), "exec"), module.__dict__)
        make = getattr(module, factory, None)
        if make is None or not callable(make) or isinstance(make, torch.nn.Module):
            defined = "is not a function or class" if make is not None else "is not defined"
            raise UsageError(f"{display_name(factory)} {defined} in {shown}", _HINT)
        network = make()
    if not isinstance(network, torch.nn.Module):
        raise UsageError(
            f"{display_name(factory)}() in {shown} returned {type(network).__name__}, not nn.Module", _HINT
        )
    shape = getattr(network, "input_shape", getattr(make, "input_shape", ()))
    text = getattr(network, "text", getattr(make, "text", None))
    return Built(
        network,
        _checked_shape(shape, shown),
        _classes(network, make),
        _text(text, shown, path.resolve().parent) if isinstance(text, dict) else None,
    )


def _checked_shape(shape: object, shown: str) -> tuple[int, ...]:
    plain = isinstance(shape, (tuple, list)) and all(type(side) is int and side >= 0 for side in shape)
    if not plain:
        raise UsageError(
            f"input_shape in {shown} is {display_name(shape, 60)}, expected a tuple of integers such as (3, 32, 32)",
            "write the shape of one input, without the batch; 0 stands for any size",
        )
    return tuple(shape)


def _text(said: dict[object, object], shown: str, folder: Path) -> TextInput:
    """``text`` of a network or its factory, every value checked."""
    wrong = [str(key) for key in said if key not in ("objective", "longest", "padding", "hidden", "tokenizer")]
    for key, value in said.items():
        if key == "objective":
            fits = value in OBJECTIVES
        elif key == "tokenizer":
            fits = isinstance(value, (str, Path))
        else:
            fits = type(value) is int and value >= (2 if key == "longest" else 0)
        wrong += [] if fits or (value is None and key in ("padding", "hidden", "tokenizer")) else [str(key)]
    wrong += [key for key in ("objective", "longest") if key not in said]
    if wrong:
        raise UsageError(
            f"text in {shown}: {display_name(wrong[0], 40)} is missing, unknown or no value that it can have",
            f"write text = {{'objective': one of {', '.join(OBJECTIVES)}, 'longest': most tokens, and where they are "
            "'padding': token id, 'hidden': token id, 'tokenizer': path of tokenizer.json}",
        )
    tokenizer = said.get("tokenizer")
    return TextInput(
        said["objective"], said["longest"], said.get("padding"), said.get("hidden"),  # type: ignore[arg-type]
        folder / str(tokenizer) if tokenizer else None,
    )  # fmt: skip


def _classes(network: torch.nn.Module, make: object) -> int:
    stated = getattr(network, "num_classes", getattr(make, "num_classes", None))
    if type(stated) is int and stated > 0:
        return stated
    linear = [part for part in network.modules() if isinstance(part, torch.nn.Linear)]
    return linear[-1].out_features if linear else 0


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    path, bytecode = list(sys.path), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, bytecode


@contextlib.contextmanager
def _reported(path: Path, shown: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one line."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else _line(error, path)
        where = f"{shown}, line {line}" if line else shown
        says = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"{where}: {type(error).__name__}: {display_name(says)}".rstrip(": "), _HINT) from None


def _line(error: BaseException, path: Path) -> int | None:
    """The last line of the user's file on the way to the error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
