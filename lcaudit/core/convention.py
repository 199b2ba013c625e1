"""The definitions behind every figure, as each report prints them."""

from __future__ import annotations

from collections.abc import Iterator

from lcaudit.core.figures import grouped, percent
from lcaudit.core.settings import Settings

_KFAC = (
    'Convolutions: x runs over unfolded patches, the expectation over samples and positions (the "expand" setting); '
    "Σ_g is summed over positions and averaged over samples. Grouped convolutions: one pair of factors per group, the "
    "spectra taken together."
)
_HUANG2020 = (
    "Convention huang2020, as in the code of Huang et al. 2020. Convolutions: x is the vector of channels at one pixel "
    "of the input feature map (C × C, no patches, no padding), the expectation over samples and pixels; Σ_g is summed "
    "over the pixels of the output, averaged over samples and multiplied by their number H·W. Grouped convolutions: "
    "one pair of factors per group, the spectra taken together."
)


def convention_of(settings: Settings) -> tuple[str, ...]:
    """What the figures of a run with these ``settings`` mean, one paragraph each."""
    return tuple(_paragraphs(settings))


def _paragraphs(settings: Settings) -> Iterator[str]:
    yield (
        "For a layer h = W x + b and g = ∂ℓ/∂h, with ℓ the loss of one sample: Σ_x = E[x xᵀ], uncentred; Σ_g = E[g gᵀ]."
    )
    theirs = settings.convention == "huang2020"
    yield _HUANG2020 if theirs else _KFAC
    yield _task(settings)
    yield _fisher(settings)
    yield (
        "The layer's Fisher block is approximated by Σ_x ⊗ Σ_g; its eigenvalues are all products of the factors'. For "
        "convolutions its λmax can be wrong by tens of times either way, since gradients at different positions are "
        "correlated: so λmax of the block itself, F, is measured from gradients of single samples where that can be "
        "done, and the ratio says how far each layer's product can be trusted. Verdicts about conditioning rest on Σ_x "
        "and Σ_g by themselves."
    )
    yield (
        "κ_p = λmax / λ_⌈p·r⌉, eigenvalues in descending order, over the r that lie above the numerical floor. Exact "
        "zeros (dead features, the softmax's own null direction) are counted as rank, never as κ."
    )
    if theirs:
        yield (
            "Numerical floor: none but that of the eigenvalue routine, d · 2.2e-16 of λmax, so that κ_100 may be "
            f"rounding (products in {settings.dtype}, sums and eigenvalues in float64)."
        )
    else:
        yield (
            "Numerical floor: d · 2.2e-16 of λmax, and, with every entry scaled to unit second moment, d · ε of the "
            "precision of the products (1.2e-7 for float32; sums and eigenvalues are always in float64): below, "
            "rounding could have made the direction."
        )
    drawn = " Samples are left out with their draws, so the noise of the draws is inside." if _drawn(settings) else ""
    yield (
        "Intervals aim at 95 % and rest on samples, never on patches: bias by cross-validated eigenvalues, width by a "
        f"grouped jackknife.{drawn} They hold for one layer at a time; a verdict needs the whole 99.9 % interval on "
        "one side."
    )
    if settings.precision and not theirs:
        yield (
            "A layer's input was summed over some 250 of the samples only, spread over all groups, where they made Σ_x "
            "known well enough: each end of the 95 % interval of κ_50, κ_80, λmax and the gain of centring or batch "
            f"norm within {percent(settings.precision)} of the figure, and no limit within the gain's 99.99 % "
            "interval. Such layers say so."
        )
    if settings.looks:
        looks = ", ".join(map(grouped, settings.looks))
        yield (
            f"Samples were added until every verdict was decided or none were left (looks at {looks} samples); all "
            "looks but the last ask for a 99.99 % interval on one side of the limit."
        )
    if theirs:
        yield (
            "Batch norms use the statistics of each batch, so every figure depends on the batch size: here at most "
            f"{settings.batch_size} samples, and never more than a tenth of the probe. No dropout; weights, running "
            "statistics, modes and gradients left as found."
        )
        yield (
            "Limits are not shared between conventions: a rule whose limit was calibrated in the default one (kfac) "
            "is skipped, and figures of the two must not be compared."
        )
    else:
        yield "Evaluation mode: running batch-norm statistics, no dropout; weights, modes and gradients left as found."


def _drawn(settings: Settings) -> bool:
    return settings.fisher == "expected" and settings.mc_samples != "exact"


def _task(settings: Settings) -> str:
    words = f"Task: {settings.task}"
    words += f" ({settings.task_evidence})." if settings.task_evidence else "."
    words += f" {settings.loss}." if settings.loss else ""
    if settings.task == "classification":
        words += f" Positions with the label {settings.ignore_index} do not count.".replace("-", "−")
    return words


def _fisher(settings: Settings) -> str:
    if settings.fisher == "empirical":
        return (
            "Fisher information: empirical, with the given labels. This Σ_g is no factor of the Fisher information, "
            "and its size cannot be compared with an expected one (Kunstner, Hennig and Balles 2019)."
        )
    if settings.mc_samples == "exact":
        draws = "taken over all labels exactly, weighted by the network's own predictive distribution"
    elif settings.mc_samples == 1:
        draws = "with labels drawn from the network's own predictive distribution (one seeded draw per sample)"
    else:
        draws = (
            "with labels drawn from the network's own predictive distribution "
            f"({settings.mc_samples} seeded draws per sample)"
        )
    formula = ", diag(p) − p pᵀ," if settings.task == "classification" else ""
    return (
        f"Fisher information: expected, {draws}; in closed form{formula} at the layer that gives the outputs. Given "
        "labels are used for error and loss only."
    )
