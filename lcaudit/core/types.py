"""What the measuring stages hand to each other; holds tensors, unlike :mod:`lcaudit.core.measurements`.

Frozen is shallow: by convention no tensor is written after construction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lcaudit.core.language import Meaning, TextInput
from lcaudit.core.measurements import (
    BatchNormReplay,
    CheckpointRecord,
    Evidence,
    LayerRecord,
    NetworkRecord,
    NonFinite,
    Normalisation,
    NotAudited,
    ProbeFit,
    ProbeRecord,
)

if TYPE_CHECKING:  # names and shapes are looked at without torch
    from pathlib import Path

    import numpy as np
    import torch

    from lcaudit.core.program import Program


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint: ``tensors`` by state-dict key, nesting and prefixes undone; ``texts``: metadata.

    ``config``: the ``config.json`` beside it, as JSON that nobody has checked; empty if there is none. ``beside``:
    other small JSON objects beside it, by name, as unchecked. ``tokenizer``: the ``tokenizer.json`` beside it.
    ``program``: the network's own graph, where the file holds one.
    """

    record: CheckpointRecord
    tensors: Mapping[str, torch.Tensor]
    non_finite: tuple[NonFinite, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tokenizer: Path | None = None
    program: Program | None = None


#: Kinds of interpolation by which pictures are resized.
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True, slots=True)
class Shaping:
    """What is done to a picture before a network sees it.

    Attributes:
        size: (height, width) that is cut out of the middle in the end; (0, 0) where only the normalisation is known.
        resize: (height, width) that the picture is resized to before.
        mode: ``centre``: so that it covers ``resize``, aspect kept; ``border``: so that it fits into it, the rest
            filled with the mean colour; ``squash``: to it, aspect not kept.
        interpolation: one of ``INTERPOLATIONS``, with antialiasing.
        normalisation: of what comes out, on the scale 0 to 1.
        declared: whether it was said of these very weights; else it is what others of this network want.
        source: where it was read, in words.
    """

    size: tuple[int, int]
    resize: tuple[int, int]
    mode: Literal["centre", "squash", "border"]
    interpolation: str
    normalisation: Normalisation
    declared: bool
    source: str


@dataclass(frozen=True, slots=True)
class Match:
    """A family recognised its own: what :mod:`lcaudit.architectures` families return.

    Attributes:
        variant: what was read off names and shapes; ``build(variant)`` makes the network.
        normalisation: by data set name, what this family's public training code does to inputs in [0, 1].
        rename: state-dict key of the file → key of the built module; identity where absent.
        shaping: of pictures of any kind, where the family has a usual one.
    """

    variant: Mapping[str, str | int | bool]
    title: str
    input_shape: tuple[int, ...]
    classes: int
    evidence: tuple[Evidence, ...]
    assumptions: tuple[str, ...] = ()
    normalisation: Mapping[str, Normalisation] = field(default_factory=dict)
    rename: Mapping[str, str] | None = None
    shaping: Shaping | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture family: a file in :mod:`lcaudit.architectures` defines one as ``FAMILY``.

    Attributes:
        match: shapes by key → a match, or ``None`` if these are not this family's tensors.
        title: in words, for listings.
        match: shapes by key → a match, or ``None`` if these are not this family's tensors.
        build: variant → module on the CPU, its parameters to be overwritten; never runs a forward pass.
    """

    title: str
    match: Callable[[Mapping[str, tuple[int, ...]]], Match | None]
    build: Callable[[Mapping[str, str | int | bool]], torch.nn.Module]


@dataclass(frozen=True, slots=True)
class Network:
    """The network with the checkpoint's weights in it, in eval mode, on the CPU.

    ``normalisation``: by data set; ``shaping``: of pictures of any kind, where that is known; ``text``: how it
    reads text, where it does.
    """

    record: NetworkRecord
    module: torch.nn.Module
    normalisation: Mapping[str, Normalisation]
    shaping: Shaping | None = None
    text: TextInput | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """The chosen samples. ``batch(start, stop)`` gives inputs [b, …] as the network wants them.

    Attributes:
        batch: positions in order of use → float32 tensor, normalised, or int64 token ids as they are; reads
            lazily where it can.
        labels: in order of use, samples first: int64 class indices [samples] or one for each position, or
            float64 values; ``None`` where there are none.
        keys: int64 [samples], the index of each sample in its data set: seeds its label draw.
        mask: positions in order of use → bool [b, T], true where a token is real; ``None`` if nothing is padded.
        pixels: positions in order of use → float32 [b, c, h, w] in [0, 1], before they are normalised; ``None``
            where samples are no such images.
        meaning: of the outputs; ``None`` where outputs and labels must tell.
    """

    record: ProbeRecord
    batch: Callable[[int, int], torch.Tensor]
    labels: np.ndarray | None
    keys: np.ndarray
    mask: Callable[[int, int], torch.Tensor] | None = None
    pixels: Callable[[int, int], torch.Tensor] | None = None
    meaning: Meaning | None = None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """One reading of what training did to images before the network saw them.

    Attributes:
        normalisation: of values in [0, 1]; a standard deviation of 1/255 leaves pixels at 0 to 255.
        reversed_channels: whether the last channel came first (BGR). transposed: rows and columns exchanged.
    """

    normalisation: Normalisation
    reversed_channels: bool = False
    transposed: bool = False

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """[b, c, h, w] in [0, 1] → what the network reads."""
        return self.normalise(self.arrange(pixels))

    def arrange(self, pixels: torch.Tensor) -> torch.Tensor:
        """The images as training saw them before it augmented them."""
        if self.reversed_channels:
            pixels = pixels.flip(1)
        if self.transposed:
            pixels = pixels.transpose(2, 3).contiguous()
        return pixels

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(x − mean) / std for each channel."""
        mean, std = (pixels.new_tensor(one).reshape(-1, 1, 1) for one in self._moments)
        return (pixels - mean) / std

    @property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.normalisation.mean, self.normalisation.std

    @property
    def title(self) -> str:
        """In words."""
        mean, std = self._moments
        if set(mean) == {0.0} and len(set(std)) == 1:
            words = "values 0 to 1" if std[0] == 1 else f"values 0 to {1 / std[0]:g}"
        else:
            words = f"mean {_several(mean)}, std {_several(std)}"
        swapped = ", last channel first" if self.reversed_channels else ""
        return f"{words}{swapped}{', rows and columns exchanged' if self.transposed else ''}"


def _several(values: tuple[float, ...]) -> str:
    shown = [f"{value:.4g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Rows themselves in the place of their products: less to keep where they are fewer than their entries.

    With K blocks, r rows of d entries and G sample groups:

    Attributes:
        rows: [K, r, d], in the precision of the passes. group: int64 [r], of each row's sample.
        squares: float64 [G, K, d], diagonal of the second moment's sums.
        subtracted: the second moment is ``squares`` on its diagonal and beside it *minus* Σ rowsᵀ rows: the
            closed form of a softmax, whose rows are probabilities.
    """

    rows: torch.Tensor
    group: torch.Tensor
    squares: torch.Tensor
    subtracted: bool = False

    @property
    def nbytes(self) -> int:
        """Memory of the tensors."""
        return self.rows.nbytes + self.group.nbytes + self.squares.nbytes


@dataclass(frozen=True, slots=True)
class Sketch:
    """A second moment's products with a few random vectors, and its diagonal: all that is kept of a very wide one.

    Attributes:
        test: float64 [d, l + t]; the first ``span`` = l are orthonormal, the rest independent standard Gaussian.
        image: float64 [K, d, l + t], Σ x xᵀ · test over all samples.
        squares: float64 [G, K, d], diagonal of Σ x xᵀ. rows: how many x; 0 where they bound no rank.
        above: float64 [K, d], a diagonal matrix that is nowhere below Σ x xᵀ; zero where none is known.
    """

    test: torch.Tensor
    image: torch.Tensor
    squares: torch.Tensor
    above: torch.Tensor
    span: int
    rows: int

    @property
    def nbytes(self) -> int:
        """Memory of the tensors."""
        return self.test.nbytes + self.image.nbytes + self.squares.nbytes + self.above.nbytes


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each entry of one-hot rows was the one, ``squares``: float64 [G, K, d], the whole second moment."""

    squares: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Memory of the tensor."""
        return self.squares.nbytes


#: Sums Σ x xᵀ [G, K, d, d] apart for each group of samples, or what stands for them.
SecondMoments: TypeAlias = "torch.Tensor | KeptRows | Sketch | Counts"


@dataclass(frozen=True, slots=True)
class InputMoments:
    """Sums over the rows of a layer's input, kept apart for each group of samples.

    With G sample groups, K channel groups (1 unless a grouped convolution) and d entries per row:

    Attributes:
        second: float64 [G, K, d, d], Σ x xᵀ over rows; for a wide layer what stands for it.
        first: float64 [G, K, d], Σ x over rows.
        channel: int64 [d], the channel of each entry within its group.
        channel_sum, channel_square: float64 [G, K, c], Σ x and Σ x² over every element of the channel.
        rows: int64 [G] rows summed; elements: int64 [G] elements per channel summed, the zeros that a convolution
            puts around its input among them.
    """

    second: SecondMoments
    first: torch.Tensor
    channel: torch.Tensor
    channel_sum: torch.Tensor
    channel_square: torch.Tensor
    rows: torch.Tensor
    elements: torch.Tensor


@dataclass(frozen=True, slots=True)
class SampleGram:
    """Single samples' weight gradients at one layer, by their inner products.

    Attributes:
        gram: float64 [m, m]; times 1/n it has the non-zero eigenvalues of the layer's expected Fisher block.
            Each gradient is scaled by the root of its weight: how many of its like it stands for.
        group: int64 [m], its sample's group. counts: int64 [G], samples in each group, n in all.
    """

    gram: torch.Tensor
    group: torch.Tensor
    counts: torch.Tensor


@dataclass(frozen=True, slots=True)
class InputSums:
    """What was summed of one layer's input, over ``samples``, int64 [G]; ``normed``: after normalisations that work on
    each sample by itself, by name, in as many groups as threads summed them."""

    layer: LayerRecord
    inputs: InputMoments
    samples: torch.Tensor
    normed: Mapping[str, InputMoments] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerMoments:
    """Everything measured at one layer. ``gradient``: float64 [G, K, o, o], Σ g gᵀ over rows, each
    sample's own loss, or what stands for it; ``samples``: int64 [G]; ``block``: of the layer's own Fisher, or
    why it is not known; ``form``: in words, what was kept in the place of sums, and why; ``normed``: as of
    :class:`InputSums`; ``input_samples``: int64 [G], whose inputs were summed, where those are not all."""

    layer: LayerRecord
    inputs: InputMoments
    gradient: SecondMoments
    gradient_label: str
    samples: torch.Tensor
    weight_norm: float
    block: SampleGram | str = ""
    form: str = ""
    normed: Mapping[str, InputMoments] = field(default_factory=dict)
    input_samples: torch.Tensor | None = None

    @property
    def of_input(self) -> InputSums:
        """What was summed of its input."""
        samples = self.samples if self.input_samples is None else self.input_samples
        return InputSums(self.layer, self.inputs, samples, self.normed)


@dataclass(frozen=True, slots=True)
class Settled:
    """The task that outputs and labels settled: its name, what speaks for it, and its ℓ of one sample in words."""

    name: str
    evidence: str = ""
    loss: str = ""


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Of what a module reads, over all samples and positions of a probe; float64 [channels].

    Attributes:
        mean, variance: the variance is the mean square about the mean. largest: of the absolute values.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    largest: torch.Tensor


@dataclass(frozen=True, slots=True)
class FactorMoments:
    """The second moments of one layer that predictions start from; K channel groups, float64.

    Attributes:
        inputs: [K, d, d], Σ_x. mean: [K, d]. measured: [K, d], what rounding of Σ_x is relative to.
        channel: int64 [d], each entry's channel within its group. gradient: [K, o, o], Σ_g.
    """

    inputs: torch.Tensor
    mean: torch.Tensor
    measured: torch.Tensor
    channel: torch.Tensor
    gradient: torch.Tensor


@dataclass(frozen=True, slots=True)
class Moments:
    """The result of one measuring run. ``batch_size``: samples per pass that fitted into memory."""

    layers: tuple[LayerMoments, ...]
    batch_norms: tuple[BatchNormReplay, ...]
    fit: ProbeFit
    task: Settled
    not_audited: tuple[NotAudited, ...]
    batch_size: int = 0
