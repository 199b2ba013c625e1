"""Texts and token ids for a network that says how it reads text: ids, padding, what each position must predict.

Whether a position counts is said once, by its target: ``ignore_index`` where it does not. Loss, error, drawn labels,
Σ_g and closed forms all follow the targets; Σ_x runs over all real tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.language import Meaning, TextInput
from lcaudit.core.measurements import ProbeRecord
from lcaudit.core.text import count, display_name
from lcaudit.probes._contract import Pixels, Samples
from lcaudit.probes._labels import check_labels
from lcaudit.probes._layout import shape_words
from lcaudit.probes._reads import embeddings
from lcaudit.probes._select import choose, ranges
from lcaudit.probes._tokenizer import Tokenizer
from lcaudit.probes._tokens import mask_words, token_layout, token_normalisation, without_padding

if TYPE_CHECKING:
    from pathlib import Path

    from lcaudit.core.types import Network, Probe

#: Tokens of a sample, at most, where the user does not say: a pass takes memory and time in proportion.
DEFAULT_LONGEST = 512
#: Characters of a text that are looked at: more than any network reads of it.
MOST_CHARACTERS = 500_000
#: Share of the tokens that a masked language model must find again, as in training (Devlin et al. 2019).
HIDDEN = 0.15
#: The kind of random numbers that choose them: apart from those that draw labels (see :mod:`lcaudit.capture.labels`).
_HIDING = 2
_MEANINGS = {
    "causal": Meaning("classification", "each output scores the next token", "next token"),
    "masked": Meaning("classification", "each output scores the token that was hidden", "hidden token"),
    "embedding": Meaning("regression", "the outputs are an embedding, no scores of classes: a Gaussian around it"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts are to be read, as far as the user says. ``tokenizer``: else the one beside the weights."""

    tokenizer: Path | None = None
    longest: int | None = None


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Chosen samples as ids. ``ids``: int64 [n, T]; ``real``, ``special``: bool [n, T]; ``positions``: int64 [n]."""

    ids: np.ndarray
    real: np.ndarray
    special: np.ndarray
    positions: np.ndarray
    available: int
    words: tuple[str, ...]

    def only(self, keep: np.ndarray) -> _Tokens:
        """The samples for which ``keep`` is true."""
        return replace(
            self, ids=self.ids[keep], real=self.real[keep], special=self.special[keep], positions=self.positions[keep]
        )


def is_text(found: Samples, network: Network, tokens: bool) -> bool:
    """Whether these are texts, or token ids for a network that says how it reads text.

    Raises:
        ProbeUnavailable: texts for a network that reads none, or something else for one that reads only text.
    """
    shown, title = display_name(found.source), network.record.title
    if network.text is None:
        if found.texts is None:
            return False
        if len(network.record.input_shape) == 3:
            raise ProbeUnavailable(
                f"{shown} holds text, and {title} reads pictures of {shape_words(network.record.input_shape)}",
                "pass a folder of images, an .npz of them, or the name of a data set such as cifar10",
            )
        raise ProbeUnavailable(
            f"{shown} holds text, and {title} does not say how it reads text",
            "pass images or arrays; or set make.text = {'objective': …, 'longest': …} on the factory of "
            "--arch file.py:make (docs/text.md)",
        )
    if found.texts is None and not tokens:
        what = "pictures" if found.pictures or len(found.shape) == 3 else "numbers that are no token ids"
        raise ProbeUnavailable(
            f"{shown} holds {what}, and {title} reads the tokens of a text",
            "pass texts, a .txt or .jsonl file, with tokenizer.json beside the weights or --tokenizer FILE; or token "
            "ids, int64 under the name input_ids in an .npz file",
        )
    return True


def text_probe(
    found: Samples, network: Network, reading: Reading, samples: int | None, seed: int, task: str,
    ignore_index: int, mean: tuple[float, ...] | None, std: tuple[float, ...] | None,
) -> Probe:  # fmt: skip
    """The probe of texts, or of token ids. Arguments as of :func:`lcaudit.probes.open_probe`.

    Raises:
        ProbeUnavailable: no tokenizer, ids that the network does not know, or nothing that could be predicted.
        UsageError, MalformedInput, LimitExceeded, EnvironmentFailure: as the tokenizer and the labels say.
    """
    text = network.text
    assert text is not None, "asked before"
    normalisation = token_normalisation(mean, std)
    if found.texts is not None:
        tokens = _tokenised(found, text, reading, samples, seed)
    else:
        if reading.tokenizer or reading.longest:
            raise UsageError("--tokenizer and --max-tokens are for texts; these are token ids", "leave them out")
        tokens = _given(found, text, network, samples, seed)
    labels, notes = _labels(found, tokens, network, task, ignore_index)
    inputs, targets, words = _objective(text, tokens, labels, seed, ignore_index)
    keep = _usable(targets, tokens, ignore_index)
    if not keep.all():
        left = count(int((~keep).sum()), "sample")
        words = (*words, f"{left} left out: nothing in it counts")
        tokens, inputs, targets = tokens.only(keep), inputs[keep], None if targets is None else targets[keep]
    if len(tokens.positions) < 2:
        raise ProbeUnavailable(
            f"{display_name(found.source)}: {count(len(tokens.positions), 'sample')} of more than one token, at least "
            "2 are needed",
            "pass more or longer texts",
        )
    pixels = Pixels(
        tokens.positions, tokens.ids.shape[1:], "unknown", lambda rows: rows, "i", int(tokens.ids.min()),
        int(tokens.ids.max()), True,
    )  # fmt: skip
    layout, scale = token_layout(
        pixels, network.record.input_shape, embeddings(network.module), found.source, found.texts is not None
        or found.tokens,
    )  # fmt: skip
    padded = not tokens.real.all()
    padding = (mask_words(tokens.real, text.padding is not None),) if padded else ()
    record = ProbeRecord(
        dataset=found.source,
        split=found.split,
        source=found.source,
        sha256=found.sha256,
        available=tokens.available,
        samples=len(tokens.positions),
        indices=ranges(tokens.positions),
        seed=seed,
        labelled=targets is not None,
        classes=found.classes if labels is not None and labels.ndim == 1 else (),
        shape=layout.shape,
        normalisation=normalisation,
        preprocessing=(*found.notes, *notes, *tokens.words, *layout.words, scale.words, *words, *padding),
        hub=found.hub,
    )
    return _probe(record, inputs, targets, tokens, padded, _MEANINGS.get(text.objective))


def _probe(
    record: ProbeRecord, inputs: np.ndarray, targets: np.ndarray | None, tokens: _Tokens, padded: bool,
    meaning: Meaning | None,
) -> Probe:  # fmt: skip
    import torch

    from lcaudit.core.types import Probe

    rows, real = torch.from_numpy(inputs), torch.from_numpy(tokens.real)
    return Probe(
        record=record,
        batch=lambda start, stop: rows[start:stop].clone(),
        labels=targets,
        keys=tokens.positions,
        mask=(lambda start, stop: real[start:stop]) if padded else None,
        meaning=meaning,
    )


def _tokenised(found: Samples, text: TextInput, reading: Reading, samples: int | None, seed: int) -> _Tokens:
    file = reading.tokenizer or text.tokenizer
    if file is None:
        raise ProbeUnavailable(
            f"{display_name(found.source)} holds text, and there is no tokenizer.json beside the weights",
            "pass --tokenizer FILE, the tokenizer.json that the network was trained with, or token ids as input_ids "
            "in an .npz file",
        )
    tokenizer = Tokenizer(file)
    longest, source = _longest(text, reading.longest)
    said = f"tokenised with {tokenizer.name} (SHA-256 {tokenizer.sha256[:12]}…)"
    if text.objective == "causal" and found.running is not None:
        return _blocks(found, text, tokenizer, said, longest, source, samples, seed)
    assert found.texts is not None, "asked before"
    positions, order = choose(found.count, samples, seed)
    texts = found.texts(positions)
    long = sum(len(one) > MOST_CHARACTERS for one in texts)
    encoded = tokenizer.encode([one[:MOST_CHARACTERS] for one in texts], longest)
    sizes = encoded.counts
    width = max(int(sizes.max()), 1)
    places = np.arange(width) < sizes[:, None]
    ids = np.full((len(sizes), width), _filler(text, sizes, found.source), np.int64)
    special = np.zeros((len(sizes), width), bool)
    ids[places], special[places] = encoded.ids, encoded.special
    special |= np.isin(ids, encoded.specials)
    words = (*order, f"{said}, with its own special tokens")
    words += (f"{count(long, 'text')} cut to the first {MOST_CHARACTERS:,} characters",) if long else ()
    words += (f"{encoded.cut} of {count(len(texts), 'text')} cut to the first {longest} tokens ({source})",)
    return _Tokens(ids, _real(ids, places, text), special, positions, found.count, words)


def _blocks(
    found: Samples, text: TextInput, tokenizer: Tokenizer, said: str, longest: int, source: str, samples: int | None,
    seed: int,
) -> _Tokens:  # fmt: skip
    """One running text cut into pieces of equal length, special tokens around each."""
    assert found.running is not None, "asked before"
    encoded = tokenizer.encode(found.running(), 0)
    inner = longest - len(encoded.before) - len(encoded.after)
    blocks = len(encoded.ids) // inner if inner > 0 else 0
    if blocks < 2:
        raise ProbeUnavailable(
            f"{display_name(found.source)} holds {count(len(encoded.ids), 'token')}, too few for 2 blocks of "
            f"{max(inner, 1)}",
            f"pass a longer text, or --max-tokens {max(8, len(encoded.ids) // 8)}",
        )
    positions, order = choose(blocks, samples, seed)
    chosen = encoded.ids[: blocks * inner].reshape(blocks, inner)[positions]
    before, after = (np.tile(np.array(ends, np.int64), (len(chosen), 1)) for ends in (encoded.before, encoded.after))
    ids = np.concatenate([before, chosen, after], 1)
    rest = len(encoded.ids) - blocks * inner
    around = f", {len(encoded.before) + len(encoded.after)} special tokens around each" if inner < longest else ""
    words = (
        f"{said} as one running text",
        f"cut into {count(blocks, 'block')} of {longest} tokens ({source}){around}; the last {rest} tokens left out",
        *order,
    )
    special = np.isin(ids, encoded.specials)
    return _Tokens(ids, _real(ids, np.ones(ids.shape, bool), text), special, positions, blocks, words)


def _given(found: Samples, text: TextInput, network: Network, samples: int | None, seed: int) -> _Tokens:
    """Token ids that the source holds."""
    positions, order = choose(found.count, samples, seed)
    pixels = found.pixels(positions, network.record.input_shape)
    ids = pixels.read(positions).astype(np.int64)
    places = np.ones(ids.shape, bool) if found.mask is None else found.mask[positions]
    if found.mask is not None and text.padding is not None:
        ids[~places] = text.padding
    real = _real(ids, places, text)
    words: tuple[str, ...] = (*order, *pixels.notes)
    if found.mask is None and not real.all():
        words += (f"positions that hold token {text.padding} are padding: the network takes no notice of them",)
    return _Tokens(ids, real, np.zeros(ids.shape, bool), positions, found.count, words)


def _real(ids: np.ndarray, places: np.ndarray, text: TextInput) -> np.ndarray:
    """Where a token is that the network takes notice of."""
    return places if text.padding is None else places & (ids != text.padding)


def _longest(text: TextInput, asked: int | None) -> tuple[int, str]:
    """(most tokens of a sample, who says so)."""
    if asked is not None and asked > text.longest:
        raise UsageError(
            f"--max-tokens {asked}: the network reads at most {text.longest} tokens",
            f"pass --max-tokens {text.longest} or less",
        )
    longest, source = (asked, "--max-tokens") if asked else (text.longest, "the longest that the network reads")
    if not asked and longest > DEFAULT_LONGEST:
        longest, source = DEFAULT_LONGEST, f"the network reads {text.longest}; --max-tokens sets it"
    return longest, source


def _filler(text: TextInput, sizes: np.ndarray, source: str) -> int:
    """The id that fills up shorter texts.

    Raises:
        ProbeUnavailable: none, where the network would read it.
    """
    if text.padding is None and text.objective != "causal" and len(set(sizes.tolist())) > 1:
        raise ProbeUnavailable(
            f"{display_name(source)}: texts of {sizes.min()} to {sizes.max()} tokens, and the network has no padding "
            "token that it takes no notice of",
            "pass token ids of one length as input_ids in an .npz file",
        )
    return text.padding or 0


def _labels(
    found: Samples, tokens: _Tokens, network: Network, task: str, ignore_index: int
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The source's labels of the chosen samples, where the network's outputs can be held against them."""
    text, labels = network.text, found.labels
    assert text is not None, "asked before"
    if labels is None:
        return None, ()
    if labels.ndim == 1 and text.objective != "sequence":
        return None, ("labels not used: the network gives none for a whole sample",)
    classes = network.record.classes
    if found.classes and classes and len(found.classes) != classes and labels.ndim == 1:
        raise ProbeUnavailable(
            f"{display_name(found.source)} has {len(found.classes)} classes, the network has {classes} outputs",
            "pass the data set that the network was trained for",
        )
    labels = without_padding(labels, found.mask, ignore_index)
    assert labels is not None
    check_labels(labels, classes, found.source, task, ignore_index, tokens.ids.shape[1:])
    return labels[tokens.positions], ()


def _objective(
    text: TextInput, tokens: _Tokens, labels: np.ndarray | None, seed: int, ignore_index: int
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """(what the network is given, what it must predict, words)."""
    ids, real = tokens.ids, tokens.real
    if labels is not None or text.objective in ("sequence", "embedding"):
        return ids, labels, ()
    if text.objective == "causal":
        targets = np.full(ids.shape, ignore_index, np.int64)
        follows = real[:, :-1] & real[:, 1:]
        targets[:, :-1][follows] = ids[:, 1:][follows]
        return ids, targets, (
            "each token's target is the next one; the last token and those before padding have none and do not count",
        )  # fmt: skip
    if text.hidden is None:
        raise ProbeUnavailable(
            "a masked language model without a token that hides others",
            "pass token ids with labels in an .npz file, labels being -100 where nothing is to be predicted",
        )
    may = real & ~tokens.special & (ids != text.hidden)
    hidden = hiding(may, tokens.positions, seed)
    never = "special ones never, " if tokens.special.any() else ""
    words = (
        f"{hidden.sum() / max(1, may.sum()):.1%} of the tokens hidden by token {text.hidden}, each with probability "
        f"{HIDDEN:.0%} (seed {seed}), {never}at least one of a sample; only these count",
    )
    return np.where(hidden, text.hidden, ids), np.where(hidden, ids, ignore_index), words


def hiding(may: np.ndarray, keys: np.ndarray, seed: int) -> np.ndarray:
    """Which of the tokens that ``may`` be hidden are, bool [n, T].

    Depends on the seed, the sample's index in its data set and the token's place among those that may be hidden: never
    on padding or on the other samples. All of them are replaced, as in evaluation; 10 % kept and 10 % random ones are
    a device of training.
    """
    hidden = np.zeros_like(may)
    for row, places, key in zip(hidden, may, keys, strict=True):
        numbers = np.random.Generator(np.random.Philox(key=seed, counter=[0, int(key), 0, _HIDING])).random(
            int(places.sum())
        )
        if len(numbers):
            row[places] = (numbers < HIDDEN) | (numbers == numbers.min()) * (numbers.min() >= HIDDEN)
    return hidden


def _usable(targets: np.ndarray | None, tokens: _Tokens, ignore_index: int) -> np.ndarray:
    """Which samples have something that counts."""
    some = tokens.real.any(1)
    return some if targets is None or targets.ndim < 2 else some & (targets != ignore_index).any(1)
