"""Small networks that read text, each as the objective it is for, and a tokenizer for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from lcaudit.core.types import Network, TextInput
from tests import cases

NAMES = "the cat sat on a mat and saw one dog run far"
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *NAMES.split()]
PADDING, HIDDEN, LONGEST = 0, 3, 12


class Reader(torch.nn.Module):
    """Embeddings, one layer that mixes all real positions (or the earlier ones), one for the outputs."""

    def __init__(self, objective: str, width: int = 6, outputs: int = 0) -> None:
        super().__init__()
        self.objective = objective
        self.tokens = torch.nn.Embedding(len(WORDS), width)
        self.places = torch.nn.Parameter(torch.randn(64, width))
        self.mix = torch.nn.Linear(2 * width, width)
        self.head = torch.nn.Linear(width, outputs or (len(WORDS) if objective in ("causal", "masked") else 4))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        real = (ids != PADDING).to(self.places)[:, :, None]
        x = self.tokens(ids) + self.places[: ids.shape[1]]
        if self.objective == "causal":
            mean = (x * real).cumsum(1) / real.cumsum(1).clamp_min(1)
        else:
            mean = ((x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)).expand_as(x)
        mixed = torch.tanh(self.mix(torch.cat([x, mean], 2)))
        if self.objective in ("causal", "masked"):
            return self.head(mixed)
        return self.head((mixed * real).sum(1) / real.sum(1))


def reader(objective: str, tokenizer: Path | None = None, padding: int | None = PADDING) -> Network:
    """In float64, with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module = Reader(objective).double().eval()
    found = cases.network(module)
    record = replace(found.record, input_shape=(0,), classes=module.head.out_features)
    text = TextInput(objective, LONGEST, padding, HIDDEN if objective == "masked" else None, tokenizer)
    return replace(found, record=record, text=text)


def save_tokenizer(path: Path, special: bool = True) -> Path:
    """Words by white space; ``[CLS]`` and ``[SEP]`` around each text where ``special``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    found = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found.add_special_tokens(WORDS[:5])
    if special:
        found.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    found.save(str(path))
    return path


def texts(count: int, seed: int = 0, longest: int = 14) -> list[str]:
    """Sentences of one to ``longest`` words."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    words = WORDS[5:]
    return [" ".join(words[i] for i in torch.randint(0, len(words), (n,), generator=generator)) for n in sizes]
