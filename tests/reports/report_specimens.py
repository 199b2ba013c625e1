"""Reports to render: small, invented, and of every shape that an audit can end in."""

from __future__ import annotations

import math
from dataclasses import replace

from lcaudit.core import specimen
from lcaudit.core.measurements import Evidence, LayerSpectra, NonFinite, NotAudited
from lcaudit.core.outcomes import Check, Effect, Finding, Fix, Gate, Limit, Report, RuleRecord, Run
from lcaudit.core.quantity import Quantity, exact

GAIN = Limit(5.0, "×", "Gains of six publicly trained CIFAR-10 residual networks")
DEAD = Limit(0.0, "1", "A dead feature carries no information")
RULES = (
    RuleRecord(
        "LC301",
        "uncentred-input",
        "A layer's input would be much better conditioned if it were normalised.",
        "warning",
        "opportunity",
        "gain: κ_80 now / after BatchNorm",
        GAIN,
        manual={
            "What it means": "The input has a large mean, so Σ_x is stretched along it.",
            "How sure": "The interval rests on 1000 samples.",
            "False alarms": "A frozen layer has nothing to gain.",
        },
    ),
    RuleRecord("LC201", "dead-features", "Features that are zero on every sample.", "error", "defect", "dead", DEAD),
    RuleRecord(
        "LC401",
        "stale-batch-norm",
        "Running statistics do not fit the probe.",
        "error",
        "defect",
        "shift of the statistics",
        Limit(0.3, "nat", "Three standard errors above 24 fitting probes"),
    ),
)
CONVENTION = (
    "Σ_x = E[x xᵀ], uncentred; convolutions: over unfolded patches, samples and positions.",
    "Σ_g = E[g gᵀ], labels drawn from the model's own predictive distribution.",
    "κ_p = λmax / λ_⌈p·r⌉ over the r directions above the numerical floor.",
)


def network(count: int, curve: int = 32) -> tuple[LayerSpectra, ...]:
    """``count`` layers of a residual network: every third one reads an uncentred residual stream."""
    layers = []
    for i in range(count):
        head = i == count - 1
        residual = i % 3 == 1 and not head
        kappa = 90.0 * 1.03**i * (14 if residual else 1)
        layer = specimen.layer(
            "linear" if head else f"layer{1 + 3 * i // max(1, count)}.{i // 2}.conv{1 + i % 2}",
            "linear" if head else "conv2d",
            gain=4.8 if head else 9.0 + i % 4 if residual else 1.2 + 0.1 * (i % 5),
            condition_number=kappa,
            dimension=64 if head else 144 << (3 * i // max(1, count)),
            outputs=10 if head else 16 << (3 * i // max(1, count)),
            zero=3 if i == 4 else 0,
            depth=i,
            is_head=head,
            reads="sum of branches" if residual else "normalisation",
            mean_energy=0.6 if residual else 0.2,
        )
        layers.append(_resampled(layer, curve))
    return tuple(layers)


def _resampled(spectra: LayerSpectra, points: int) -> LayerSpectra:
    """The layer with curves of ``points`` points, each spectrum its own."""

    def curve(dimension: int, slope: float) -> tuple[tuple[int, float], ...]:
        indices = sorted({round(dimension ** (k / (points - 1))) for k in range(points)})
        bent = [slope * (index + 0.03 * dimension * math.sin(2.0 * k)) for k, index in enumerate(indices)]
        return tuple((index, 0.5 * math.exp(-b / dimension)) for index, b in zip(indices, bent, strict=True))

    dimension, outputs = spectra.input.dimension, spectra.gradient.dimension
    steep = math.log(spectra.input.condition_number["80"].value) / 0.8
    what_if = {
        change: replace(after, curve=curve(dimension, steep - math.log(after.gain.value) / 0.8))
        for change, after in spectra.what_if.items()
    }
    return replace(
        spectra,
        input=replace(spectra.input, curve=curve(dimension, steep)),
        centred=replace(spectra.centred, curve=curve(dimension, 0.8 * steep)),
        gradient=replace(spectra.gradient, curve=curve(outputs, 3.0)),
        what_if=what_if,
    )


def fix(layers: tuple[LayerSpectra, ...]) -> Fix:
    """Normalise the inputs of ``layers``."""
    effects = tuple(
        Effect(
            layer.layer.name,
            "κ_80 of Σ_x",
            layer.input.condition_number["80"],
            layer.what_if["batch_norm"].condition_number["80"],
            layer.what_if["batch_norm"].gain,
            "computed",
        )
        for layer in layers
    )
    return Fix(
        "normalise_input",
        "Put a BatchNorm before the layer and train on",
        "unsafe",
        tuple(layer.layer.name for layer in layers),
        effects,
        "Insert a BatchNorm that centres and scales each channel of the layer's input, then train for a few epochs.",
        "self.norm = nn.BatchNorm2d(16)\nx = self.conv1(self.norm(x))",
        "32 parameters per layer, no measurable time, some retraining.",
    )


def report(layers: tuple[LayerSpectra, ...] | None = None, **changes: object) -> Report:
    """A failed audit of a network of 20 layers with one opportunity and one defect."""
    layers = network(20) if layers is None else layers
    guilty = tuple(layer for layer in layers if layer.what_if["batch_norm"].gain.value > 8)
    findings, checks = [], []
    if len(layers) > 4:
        findings.append(
            Finding(
                f"LC201:{layers[4].layer.name}",
                "LC201",
                "error",
                "defect",
                f"3 of 288 inputs of {layers[4].layer.name} are dead",
                "These features are zero on every sample of the probe, so the weights that read them cannot learn.",
                (layers[4].layer.name,),
                "dead features",
                exact(3, "features"),
                DEAD,
                ("Entries 7, 8 and 9 are exactly zero on 1000 samples.",),
            )
        )
    if guilty:
        worst = max((layer.what_if["batch_norm"].gain for layer in guilty), key=lambda q: q.value)
        findings.append(
            Finding(
                "LC301:residual-stream",
                "LC301",
                "warning",
                "opportunity",
                f"{len(guilty)} layers read an uncentred residual stream",
                "The mean of the input holds most of its energy and stretches Σ_x along one direction. Gradient "
                "descent must take steps small enough for that direction, and crawls along all others.",
                tuple(layer.layer.name for layer in guilty),
                "gain: κ_80 now / after BatchNorm",
                worst,
                GAIN,
                ("κ_80 falls by a factor of 9 to 12 once the input is centred and scaled.",),
                (fix(guilty),),
            )
        )
    for layer in layers:
        gain = layer.what_if["batch_norm"].gain
        status = "fail" if layer in guilty else "undecided" if layer.layer.is_head else "pass"
        reason = "the limit lies inside the interval" if status == "undecided" else ""
        checks.append(Check("LC301", layer.layer.name, status, gain, reason))
        checks.append(Check("LC201", layer.layer.name, "fail" if layer.input.zero else "pass", exact(0), ""))
    checks.append(Check("LC401", "", "skip", None, "the network has no batch-norm layer"))
    parameters = sum(layer.layer.parameters for layer in layers) + 40
    base = specimen.measurements(layers=layers)
    measured = replace(
        base,
        network=replace(
            base.network,
            title="ResNet-20 (CIFAR, option A shortcuts, width 16)",
            parameters=parameters,
            confidence="assumed",
            evidence=(
                Evidence("keys and shapes", "all 122 tensors fit, none is left over"),
                Evidence("batch-norm replay", "running statistics agree with the probe to 0.02"),
            ),
            assumptions=("Shortcuts subsample and pad with zeros (option A); they leave no trace in the file.",),
        ),
        not_audited=(NotAudited("bn1", "BatchNorm2d", 32, "normalisation layers have no Σ_x"),),
    )
    found = Report(
        "1.0",
        Run("2026-01-02T03:04:05Z", {"load": 0.21, "measure": 3.4, "spectra": 0.8}),
        Gate("error", 0.5, 0.99, "fail" if findings else "pass", int(bool(findings)), (), {}),
        tuple(findings),
        tuple(checks),
        RULES,
        CONVENTION,
        measured,
    )
    return replace(found, **changes)


def odd_ones() -> dict[str, Report]:
    """Reports at the edges: nothing found, nothing labelled, nothing measured, everything undefined."""
    whole = report()
    fit = whole.measurements.fit
    assert fit is not None

    def of(**changes: object) -> Report:
        return replace(whole, measurements=replace(whole.measurements, **changes))

    broken = Quantity(math.nan, "1", None, None, method="grouped jackknife", n=4, reliable=False)
    undefined = tuple(_undefined(layer, broken) for layer in network(6))
    hopeless = replace(
        of(layers=undefined),
        findings=(
            replace(whole.findings[0], measured=replace(broken, value=math.inf), limit=Limit(math.inf, "1", "")),
        ),
        checks=(
            Check("LC301", "linear", "crash", None, "ZeroDivisionError"),
            Check("LC9", "", "undecided", broken, ""),
        ),
    )
    weights = replace(
        of(fit=None, layers=(), batch_norms=(), non_finite=(NonFinite("layer1.0.conv1.weight", 4, 2304),)),
        findings=(),
        checks=(),
        gate=Gate("error", 0.5, 0.0, "incomplete", 3, ("Only 0 % of the parameters were audited.",), {}),
    )
    return {
        "clean": report(tuple(specimen.layer(f"fc{i}", depth=i) for i in range(3))),
        "unlabelled": of(fit=replace(fit, error=None, loss=None, chance=None)),
        "weights not finite": weights,
        "one layer": report((specimen.layer("head", is_head=True),)),
        "150 layers": report(network(150, 64)),
        "undefined": hopeless,
    }


def _undefined(spectra: LayerSpectra, broken: Quantity) -> LayerSpectra:
    def without(spectrum):
        return replace(
            spectrum,
            largest=broken,
            trace=replace(broken, value=math.inf),
            condition_number={"80": broken},
            effective_rank=replace(broken, value=math.nan),
            curve=((1, math.nan), (2, 0.0)),
        )

    return replace(
        spectra,
        input=without(spectra.input),
        centred=without(spectra.centred),
        gradient=replace(without(spectra.gradient), condition_number={}, curve=()),
        fisher=without(spectra.fisher),
        fisher_largest=broken,
        kronecker_ratio=broken,
        what_if={},
        weight_norm=math.nan,
    )
