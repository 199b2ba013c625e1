"""What was measured, free of torch: everything that rules, fixes and formats read.

A :class:`Measurements` can be written as JSON and read back (:mod:`lcaudit.core.serial`), so a verdict
or a page can be made again without the model or the data. The dataclasses below *are* the schema.
Mappings are written in their own order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lcaudit.core import trust
from lcaudit.core.hub_address import HubRecord
from lcaudit.core.identification import Identification
from lcaudit.core.links import Link
from lcaudit.core.quantity import Quantity
from lcaudit.core.settings import Environment, Settings

#: The percentiles at which condition numbers are reported, as keys of ``FactorSpectrum.condition_number``.
PERCENTILES = ("50", "80", "90", "100")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file that was read: base name, size in bytes, SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RecordedAccuracy:
    """An accuracy that the checkpoint carries: the key it stood under and the value as a share of 1."""

    key: str
    value: float


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """The file as a file: nothing here depends on the numbers inside.

    Attributes:
        name: base name of the file or folder, or name of the repository.
        container: ``safetensors``, ``safetensors-sharded``, ``torch-zip`` or ``torch-legacy``.
        sha256: of the one file, or of the sorted lines ``sha256  name`` of several.
        unwrapped: nestings and prefixes that were undone, in order, in words.
        recorded: accuracy that the checkpoint records, if any. hub: the repository it came from, if any.
    """

    name: str
    container: str
    sha256: str
    files: tuple[FileRecord, ...]
    unwrapped: tuple[str, ...] = ()
    recorded: RecordedAccuracy | None = None
    hub: HubRecord | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One step of identifying the network: which test, and what it said."""

    step: str
    says: str


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per-channel ``(x − mean) / std`` applied to inputs scaled to [0, 1], and where it comes from."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """Which network the weights were loaded into.

    Attributes:
        family: name of the family's file, ``timm`` or ``torchvision`` for a network of theirs, ``user`` for a
            factory the user named, or ``exported_program`` for a file that holds its own graph.
        title: in words, e.g. ``ResNet-20 (CIFAR, option A shortcuts, width 16)``.
        variant: what was read off the shapes (depth, widths, classes, …).
        confidence: ``declared`` by the user, ``identified`` by keys and shapes, ``chosen by probe`` among several
            (see :class:`Identification`), or ``assumed`` by convention (see ``assumptions``).
        assumptions: what leaves no trace in the file and was assumed, in words.
        parameters: learned numbers in all (buffers excluded).
        input_shape: shape of one input, without the batch.
        classes: width of the output.
        dtype: of the weights as stored.
        former_names: layer → the name it had before a recipe moved it, of those that one moved.
    """

    family: str
    title: str
    variant: Mapping[str, str | int | bool]
    confidence: Literal["declared", "identified", "chosen by probe", "assumed"]
    evidence: tuple[Evidence, ...]
    assumptions: tuple[str, ...]
    parameters: int
    input_shape: tuple[int, ...]
    classes: int
    dtype: str
    former_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """The data that was run through the network.

    Attributes:
        dataset: name of the data set, e.g. ``cifar10``, or the file's base name.
        split: ``test``, ``train``, … or ``unknown``.
        source: base name of the file or folder that was read, or name of the repository.
        sha256: of the content (pixels and labels in order), independent of the container.
        available, samples: how many there are, how many were used.
        indices: the chosen ones in order of use, e.g. ``"0-9,12"``; ``seed`` chose them.
        labelled: whether labels were given.
        classes: names or numbers of the classes, empty if unknown.
        shape: of one sample as fed to the network.
        preprocessing: what was done to each sample, in order, in words. hub: the repository it came from, if any.
        confidence: of the normalisation, likewise; ``""`` where there is none to choose.
    """

    dataset: str
    split: str
    source: str
    sha256: str
    available: int
    samples: int
    indices: str
    seed: int
    labelled: bool
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    normalisation: Normalisation
    preprocessing: tuple[str, ...] = ()
    hub: HubRecord | None = None
    confidence: Literal["declared", "identified", "chosen by probe", "assumed", ""] = ""


@dataclass(frozen=True, slots=True)
class ProbeFit:
    """How well the network does on the probe, per prediction. ``None`` where labels are missing.

    Attributes:
        error: share of wrong predictions (top-1), with a Wilson interval; ``None`` in regression.
        loss: mean of −log p in nats at the given labels, without constants.
        chance: error of the best constant guess on these labels; ``None`` in regression.
        entropy: mean entropy of the predictive distribution in nats; needs no labels.
        prediction: what one is, ``next token`` or ``hidden token``; ``""`` if it is the label of a sample or position.
    """

    error: Quantity | None
    loss: Quantity | None
    chance: float | None
    entropy: Quantity
    prediction: str = ""


@dataclass(frozen=True, slots=True)
class FactorSpectrum:
    """Eigenvalues of a second moment, summarised.

    Attributes:
        dimension: side of the matrix (all groups together for a grouped convolution).
        zero: rows that are exactly zero (dead features): structural, never counted in a κ.
        rank: eigenvalues above ``floor``, a share of the largest; at least so many where ``rank_at_most`` is given.
        largest: λmax. trace: sum of the eigenvalues.
        condition_number: κ_p for p in ``PERCENTILES``: λmax / λ_⌈p·rank⌉, eigenvalues descending.
        effective_rank: trace / λmax. entropy_rank: exp of the spectrum's entropy.
        curve: at most 64 points (index from 1, eigenvalue) of the descending spectrum.
    """

    dimension: int
    zero: int
    rank: int
    floor: float
    largest: Quantity
    trace: Quantity
    condition_number: Mapping[str, Quantity]
    effective_rank: Quantity
    entropy_rank: Quantity
    curve: tuple[tuple[int, float], ...]
    rank_at_most: int | None = None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The layer's input after a change, in closed form from moments of the same samples.

    Attributes:
        change: ``centring``, ``batch_norm`` (centre and scale each channel, γ = 1, β = 0), ``whitening`` (the same
            variance in every direction that has any), or ``layer_norm`` and ``rms_norm`` (each sample, or token, by
            its own mean and scale, no learned part), where these were measured.
        condition_number: κ_p of the changed Σ_x. gain: κ_80 before / after, paired on the same samples.
        exact: in words, what the closed form takes account of and what it does not.
        product: κ_p of the changed Σ_x ⊗ Σ_g, plug-in, Σ_g as it is; empty where it was not computed.
    """

    change: str
    condition_number: Mapping[str, Quantity]
    gain: Quantity
    curve: tuple[tuple[int, float], ...]
    exact: str
    product: Mapping[str, Quantity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attribution:
    """What κ_p of Σ_x is made of: three factors whose product it is.

    Attributes:
        mean: κ_p / κ_p after centring. scale: κ_p after centring / κ_p after each channel is scaled too. correlation:
            κ_p of what is left, in which channels differ neither in mean nor in scale. The first two may be below 1.
    """

    mean: Quantity
    scale: Quantity
    correlation: Quantity


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One audited layer, as wired.

    Attributes:
        name: path in the state dict. kind: name of the handler's file, e.g. ``linear``.
        depth: place in order of execution, from 0.
        parameters: learned numbers in the layer.
        inputs, outputs: d_in (patch entries per group × groups for a convolution) and d_out.
        groups: factor pairs. positions: rows per sample (pixels of the output, tokens; 1 for vectors).
        geometry: in words, e.g. ``3×3, stride 2, padding 1``; empty for a plain linear layer.
        reads: what produces its input: ``network input``, ``sum of branches`` (a residual stream),
            ``normalisation``, ``layer`` (another layer, directly) or ``unknown``.
        through: functions between producer and this layer, e.g. ``ReLU, average pooling``.
        is_head: whether its output is the network's output.
        channels: channels, or features, that it reads. elements: numbers that it reads for one sample, the zeros
            that it puts around them included; 0 in both where that was not recorded.
    """

    name: str
    kind: str
    depth: int
    parameters: int
    inputs: int
    outputs: int
    groups: int
    positions: int
    geometry: str
    reads: str
    through: str
    is_head: bool
    channels: int = 0
    elements: int = 0


@dataclass(frozen=True, slots=True)
class LayerSpectra:
    """What one layer's moments say.

    Attributes:
        input: spectrum of Σ_x = E[x xᵀ] (uncentred). gradient: of Σ_g = E[g gᵀ].
        centred: spectrum of C = Σ_x − μμᵀ.
        fisher: of the Kronecker product Σ_x ⊗ Σ_g, κ_p over all products.
        mean_energy: μᵀμ / tr Σ_x, the share of the input's energy that is its mean.
        what_if: by change.
        weight_norm: Frobenius norm ‖W‖; ``scaled_curvature``: λmax·‖W‖², free of W's scale, with λmax of the
            layer's own Fisher block, or of the product where that is not known.
        gradient_label: how Σ_g's labels were taken: e.g. ``expected, closed form``, ``expected, one draw per
            sample`` or ``empirical, given labels``.
        enough_samples: samples with which κ of Σ_x can be judged; beyond ``least_samples`` an extrapolation.
        fisher_largest: λmax of the layer's own Fisher block, without the Kronecker form, from gradients of
            single samples. kronecker_ratio: the product's λmax / that.
        least_samples: samples that give 4 rows per dimension, and 100: with fewer nothing is judged.
        block_reason: why these two are ``None``; ``""`` also where they were never asked for.
        form: how its moments were kept where that is not the usual way, and why.
        replicates: by ``id`` of a metric (:mod:`lcaudit.core.metrics`), the figure's logarithm without each group of
            samples in turn: what a paired comparison needs. Empty where there were too few samples.
        attribution: by p, for 50 and 80; empty where the eigenvalues are known within bounds only.
        input_samples: behind Σ_x, where fewer made it known well enough; 0 where all ``samples`` are.
    """

    layer: LayerRecord
    samples: int
    input: FactorSpectrum
    centred: FactorSpectrum
    gradient: FactorSpectrum
    fisher: FactorSpectrum
    mean_energy: Quantity
    what_if: Mapping[str, WhatIf]
    weight_norm: float
    scaled_curvature: Quantity
    gradient_label: str
    enough_samples: int
    fisher_largest: Quantity | None = None
    kronecker_ratio: Quantity | None = None
    block_reason: str = ""
    least_samples: int = 0
    form: str = ""
    replicates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    attribution: Mapping[str, Attribution] = field(default_factory=dict)
    input_samples: int = 0

    @property
    def product_holds(self) -> bool | None:
        """Whether Σ_x ⊗ Σ_g gives this layer's λmax; ``None`` where that is not known."""
        return trust.holds(self.kronecker_ratio)

    @property
    def trust(self) -> str:
        """In words, how far Σ_x ⊗ Σ_g can stand for the layer's Fisher block."""
        return trust.words(self.kronecker_ratio, self.block_reason)


@dataclass(frozen=True, slots=True)
class ExactCurvature:
    """The largest eigenvalue of one layer's block of a curvature matrix, by Lanczos iteration.

    Attributes:
        layer: its name. kind: ``hessian`` of the mean loss on the given labels, or ``ggn``, which is the
            expected Fisher.
        largest: over the whole probe. converged: whether the iteration reached its tolerance.
    """

    layer: str
    kind: Literal["hessian", "ggn"]
    largest: Quantity
    converged: bool


@dataclass(frozen=True, slots=True)
class BatchNormReplay:
    """The probe's statistics at a batch-norm layer against its running ones.

    Sampling noise of the probe is subtracted, so that a fitting probe of any size tends to 0.

    Attributes:
        mean_shift: root mean square over channels of |probe mean − running mean| / running σ.
        variance_shift: root mean square over channels of |log(probe variance / running variance)|, nat.
        channels: channels compared.
    """

    name: str
    depth: int
    channels: int
    mean_shift: Quantity
    variance_shift: Quantity


@dataclass(frozen=True, slots=True)
class NotAudited:
    """A module with parameters that was not measured, and why."""

    name: str
    kind: str
    parameters: int
    reason: str


@dataclass(frozen=True, slots=True)
class NonFinite:
    """A stored tensor with NaN or infinite entries."""

    name: str
    entries: int
    size: int


@dataclass(frozen=True, slots=True)
class Measurements:
    """One audit's numbers. ``layers`` are in order of execution; ``exact``: cross-checks; ``links``: outputs' ways."""

    checkpoint: CheckpointRecord
    network: NetworkRecord
    probe: ProbeRecord
    fit: ProbeFit | None
    layers: tuple[LayerSpectra, ...]
    batch_norms: tuple[BatchNormReplay, ...]
    not_audited: tuple[NotAudited, ...]
    non_finite: tuple[NonFinite, ...]
    settings: Settings
    environment: Environment
    tensors: int = 0
    notes: tuple[str, ...] = field(default=())
    exact: tuple[ExactCurvature, ...] = ()
    identification: Identification | None = None
    links: tuple[Link, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of the network's parameters that sits in audited layers."""
        audited = sum(spectra.layer.parameters for spectra in self.layers)
        return audited / self.network.parameters if self.network.parameters else 0.0
