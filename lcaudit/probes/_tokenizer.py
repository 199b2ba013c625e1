"""Texts to token ids with a checkpoint's own ``tokenizer.json``, in a process of its own (see :mod:`._tokenizing`)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lcaudit.core.errors import AuditError, EnvironmentFailure, LimitExceeded, MalformedInput
from lcaudit.core.files import read_regular
from lcaudit.core.serial import parse_json
from lcaudit.core.text import display_name

#: Largest ``tokenizer.json``; Gemma's, with 262,144 pieces, has 33 MB.
MOST_BYTES = 128 * 2**20
#: Most tokens of all chosen texts together.
MOST_TOKENS = 2**27
#: Memory of the process: a vocabulary of 262,144 pieces takes 0.3 GB.
_MEMORY = 6 * 2**30
#: Seconds before the first text, and for each of its bytes: ten times what a slow one needs.
_SECONDS, _PER_BYTE = 60, 10e-6


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of several texts.

    Attributes:
        ids: int64, all texts' one after the other. special: bool, whether the tokenizer put the token in.
        counts: int64 [texts]. cut: texts that were longer than allowed.
        before, after: special tokens around every text. specials: ids of all special tokens. size: the vocabulary's.
    """

    ids: np.ndarray
    special: np.ndarray
    counts: np.ndarray
    cut: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    specials: tuple[int, ...]
    size: int


class Tokenizer:
    """One ``tokenizer.json``."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            MalformedInput, LimitExceeded: no regular file, or too large. EnvironmentFailure: tokenizers is missing.
        """
        self.name = display_name(path.name, 80)
        self.content = read_regular(path, MOST_BYTES)
        self.sha256 = hashlib.sha256(self.content).hexdigest()
        spec = importlib.util.find_spec("tokenizers")
        if spec is None or spec.origin is None:
            raise EnvironmentFailure(
                "text needs tokenizers, which is not installed", "type: pip install 'lcaudit[text]'"
            )
        self.packages = Path(spec.origin).parent.parent

    def encode(self, texts: Sequence[str], longest: int) -> Encoded:
        """Ids of each text, at most ``longest`` with the tokenizer's special tokens; 0 for all, without them.

        Raises:
            MalformedInput: the tokenizer cannot be used. LimitExceeded: it takes too long, too much memory, or gives
                too many tokens. EnvironmentFailure: no process can be started.

        Cost: a third of a second, and a second for each megabyte.
        """
        said = json.dumps(list(texts)).encode("ascii")
        most = min(MOST_TOKENS, longest * len(texts)) if longest else MOST_TOKENS
        asked = {"tokenizer": len(self.content), "longest": longest, "most": most}
        allowed = _SECONDS + int(_PER_BYTE * (len(said) + len(self.content)))
        answer = self._ask(json.dumps(asked).encode() + b"\n" + self.content + said, allowed)
        head, _, body = answer.partition(b"\n")
        try:
            found = parse_json(head)
            if not isinstance(found, dict):
                raise MalformedInput("no answer")
        except AuditError:
            raise self._unusable("the process that read it ended before its time") from None
        if "error" in found:
            raise self._unusable(str(found["error"]))
        counts = np.array(found["counts"], np.int64)
        total = int(counts.sum())
        if len(counts) != len(texts) or len(body) != 5 * total:
            raise self._unusable("the process that read it ended before its time")
        return Encoded(
            ids=np.frombuffer(body, "=u4", total).astype(np.int64),
            special=np.frombuffer(body, np.uint8, total, 4 * total).astype(bool),
            counts=counts,
            cut=int(found["cut"]),
            before=tuple(found["before"]),
            after=tuple(found["after"]),
            specials=tuple(found["special"]),
            size=int(found["size"]),
        )

    def _ask(self, request: bytes, seconds: int) -> bytes:
        script = Path(__file__).with_name("_tokenizing.py")
        command = [sys.executable, "-P", str(script), str(_MEMORY), str(seconds), str(self.packages)]
        try:
            done = subprocess.run(
                command,
                input=request,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the library writes to it before it gives up
                timeout=seconds,
                check=False,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"},
            )
        except subprocess.TimeoutExpired:
            raise LimitExceeded(
                f"{self.name}: tokenising takes more than {seconds} seconds",
                "its regular expressions may not end; pass shorter texts, or the tokenizer.json of a library's own",
            ) from None
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot start a process for the tokenizer: {error.strerror or type(error).__name__}",
                "tokenise the texts yourself and pass input_ids and attention_mask in an .npz file",
            ) from None
        return done.stdout

    def _unusable(self, why: str) -> MalformedInput:
        return MalformedInput(
            f"{self.name}: no tokenizer that can be used ({display_name(why, 200)})",
            "write it again with tokenizer.save(), or pass token ids as input_ids in an .npz file",
        )
