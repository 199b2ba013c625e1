"""What training scripts keep beside weights, as stand-ins that keep next to nothing and run nothing.

A ``Namespace`` of command-line arguments, the paths in it, and NumPy numbers such as the best accuracy. The dry run
accepts each in the one form in which Python's pickle writes it (``CALLS``, ``MADE``, :func:`set_state`); torch's reader
is then handed the classes and functions of this file under those names (``STAND_INS``), never the real ones: neither
argparse, pathlib nor NumPy sees anything of a file. NumPy's arrays are refused: they could be the weights.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lcaudit.checkpoints._pickle_stack import Refusal

#: A dtype without objects: a letter, and how many bytes (or characters) one takes.
_CODE = re.compile(r"[fiubcSUmMV][0-9]{1,6}")
#: Those of which a number is made, by the letters of :mod:`struct`.
_FORMS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b"}
_FORMS |= {"u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?"}
_ORDERS = ("<", ">", "|", "=")


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """In the dry run: a ``Namespace``, a ``path``, a NumPy ``dtype`` or a ``number``."""

    what: str


class Namespace:
    """For torch's reader: arguments of a training script, all of them left out."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


class DType:
    """For torch's reader: how a NumPy number is written."""

    def __init__(self, code: str, *flags: object) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


def path(*parts: str) -> None:
    """For torch's reader: a path, of which nothing is kept; joined parts could be larger than any memory."""


def number(dtype: DType, data: bytes) -> float | int | bool | None:
    """For torch's reader: a NumPy number as Python's; ``None`` for text, times and complex numbers."""
    form = _FORMS.get(dtype.code)
    return struct.unpack(dtype.order + form, data)[0] if form and struct.calcsize(form) == len(data) else None


def _dtype(*arguments: Any) -> Beside:
    if not arguments or not isinstance(arguments[0], str) or not _CODE.fullmatch(arguments[0]):
        raise Refusal("a NumPy dtype of something other than numbers and texts")
    if len(arguments) != 3 or not all(isinstance(flag, int) for flag in arguments[1:]):
        raise Refusal("a NumPy dtype that is not written as NumPy writes it")
    return Beside("dtype")


def _number(*arguments: Any) -> Beside:
    dtype, data = arguments if len(arguments) == 2 else (None, None)
    if not isinstance(dtype, Beside) or dtype.what != "dtype" or not isinstance(data, bytes):
        raise Refusal("a NumPy number that is not written as NumPy writes it")
    return Beside("number")


def _path(*arguments: Any) -> Beside:
    if not all(isinstance(part, str) for part in arguments):
        raise Refusal("a path of something other than texts")
    return Beside("path")


def made(name: str, arguments: object) -> Beside:
    """The stand-in in the dry run for what ``NEWOBJ`` makes of a name of ``MADE``."""
    if arguments != ():
        raise Refusal("a Namespace made of arguments")
    return Beside(MADE[name])


def set_state(target: Beside, state: object) -> None:
    """Refuse in the dry run what pickle would not set on it."""
    if target.what == "Namespace" and isinstance(state, dict):
        return
    if target.what == "dtype" and isinstance(state, tuple) and len(state) >= 8 and state[1] in _ORDERS:
        return
    raise Refusal(f"a {target.what} with a state that pickle does not give it")


_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_PATHS = tuple(f"{home}.{kind}Path" for home in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows"))
#: Global → what calling it would give in the dry run.
CALLS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _dtype,
    **dict.fromkeys(_SCALARS, _number),
    **dict.fromkeys(_PATHS, _path),
}
#: Class → what making one gives.
MADE = {"argparse.Namespace": "Namespace"}
#: What torch's reader is given under these names, as :func:`torch.serialization.safe_globals` takes it.
STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (Namespace, "argparse.Namespace"),
    (DType, "numpy.dtype"),
    *((number, name) for name in _SCALARS),
    *((path, name) for name in _PATHS),
]
