"""A small language model, trained here on text that every Python brings: a real one to audit, in a minute or two.

    python benchmarks/language_model.py /tmp/model          # writes the model, its tokenizer, train.txt and test.txt
    lcaudit check /tmp/model --data /tmp/model/test.txt

GPT-2's architecture with two layers and a byte-level BPE, both from transformers and tokenizers, on the
docstrings of Python's standard library (PSF licence). The last tenth of them is held out. Needs ``pip install
'.[text]'``. The same seed on another version of Python gives another model: its docstrings differ.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

HELD_OUT = 0.1
#: Shorter docstrings are hardly prose.
_LEAST = 80


@dataclass(frozen=True, slots=True)
class Size:
    """Of the model and of its training."""

    vocabulary: int = 640
    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 64
    steps: int = 400
    batch: int = 24
    rate: float = 5e-3


def corpus() -> list[str]:
    """Docstrings of the standard library's own modules, each once, in order of file and line."""
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node) or ""
                if len(text) >= _LEAST:
                    found[text] = None
    return list(found)


def tokenizer(texts: list[str], vocabulary: int) -> Any:
    """A byte-level BPE without special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def train(folder: Path, size: Size = Size(), seed: int = 0) -> float:
    """Train and save model, tokenizer, ``train.txt`` and ``test.txt``; the loss of the last steps, nats a token.

    Cost: with the defaults a minute on one core.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # what is missing for parts that are not used
        from transformers import GPT2Config, GPT2LMHeadModel
    texts = corpus()
    cut = round(len(texts) * (1 - HELD_OUT))
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train.txt", texts[:cut]), ("test.txt", texts[cut:])):
        (folder / name).write_text("\n\n".join(part) + "\n", encoding="utf-8")
    made = tokenizer(texts[:cut], size.vocabulary)
    made.save(str(folder / "tokenizer.json"))
    stream = torch.tensor(made.encode((folder / "train.txt").read_text(encoding="utf-8")).ids)
    config = GPT2Config(
        vocab_size=size.vocabulary, n_embd=size.width, n_layer=size.layers, n_head=size.heads,
        n_positions=size.context, bos_token_id=None, eos_token_id=None, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
        last = _fit(model, stream, size)
    model.save_pretrained(folder)
    return last


def _fit(model: torch.nn.Module, stream: torch.Tensor, size: Size) -> float:
    optimiser = torch.optim.AdamW(model.parameters(), lr=size.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, size.rate, total_steps=size.steps, pct_start=0.1)
    losses = []
    model.train()
    for _ in range(size.steps):
        starts = torch.randint(0, len(stream) - size.context, (size.batch,))
        tokens = torch.stack([stream[start : start + size.context] for start in starts.tolist()])
        outputs = model(input_ids=tokens).logits
        loss = functional.cross_entropy(outputs[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return sum(losses[-20:]) / len(losses[-20:])


def main() -> None:
    """Train into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=Size.__dataclass_fields__["steps"].default)
    given = parser.parse_args()
    started = time.monotonic()
    loss = train(given.folder, Size(steps=given.steps))
    print(f"{given.folder}: training loss {loss:.3f} nat a token after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
