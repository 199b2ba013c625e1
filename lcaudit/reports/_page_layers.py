"""The page's view of the layers: figures over depth, and one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from lcaudit.core import figures as numbers
from lcaudit.core.measurements import ExactCurvature, FactorSpectrum, LayerSpectra
from lcaudit.core.outcomes import Limit, Report
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count
from lcaudit.reports import _summary as summary
from lcaudit.reports._plots import Curve, spectra
from lcaudit.reports._profile import Series, profile

#: Beyond this many layers only those named in a finding and the worst ones keep their spectra.
_MOST_PLOTS = 80
_CHANGES = {
    "centring": "after centring",
    "batch_norm": "after BatchNorm",
    "whitening": "after whitening",
    "layer_norm": "after LayerNorm",
    "rms_norm": "after RMSNorm",
}
#: The changes whose product with Σ_g is told; Σ_g stays as it is under them alone.
_KEPT = ("centring", "batch_norm", "whitening")
_PRODUCT = "Stands for the layer's Fisher block: close at a linear head, tens of times off either way in convolutions."


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot over depth."""

    title: str
    note: str
    plot: Markup


@dataclass(frozen=True, slots=True)
class LayerView:
    """One layer: ``cells`` for the table, ``rows`` for its own, each a tuple of text."""

    spectra: LayerSpectra
    anchor: str
    severity: str
    kappa: str
    interval: str
    after: str
    gain: str
    cells: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    plot: Markup | None


def panels(report: Report) -> tuple[Panel, ...]:
    """κ_80 before and after first, then the rest; panels without a figure are left out."""
    layers = report.measurements.layers
    if not layers:
        return ()
    names = tuple(one.layer.name for one in layers)
    gains = tuple(summary.gain(one) for one in layers)
    judges = summary.judges_of(report, gains)
    named = {layer for finding in report.findings if finding.rule in judges for layer in finding.layers}
    guilty = frozenset(i for i, name in enumerate(names) if name in named)
    after = Series("κ_80 after BatchNorm", tuple(_after(one) for one in layers), hollow=True)
    wanted: list[tuple[str, str, Callable[[LayerSpectra], Quantity | None]]] = [
        ("κ_80 of Σ_x", "How lopsided each layer's input is: full marks now, rings after BatchNorm before it.", _kappa),
        ("Gain of BatchNorm", "κ_80 of Σ_x now / after.", summary.gain),
        ("λmax of Σ_x", "Scale of the input, squared.", lambda one: one.input.largest),
        ("λmax of Σ_g", "Scale of the gradient, squared.", lambda one: one.gradient.largest),
        _curvature(layers),
        ("κ_80 of Σ_g", "How lopsided the gradient is.", lambda one: _at_80(one.gradient)),
        ("κ_80 of Σ_x ⊗ Σ_g", "Over all products of eigenvalues.", lambda one: _at_80(one.fisher)),
    ]
    shown = []
    for i, (title, note, of) in enumerate(wanted):
        figures = tuple(of(one) for one in layers)
        series = [Series(title, figures), *([after] if i == 0 else [])]
        rules = summary.rule_names(report)
        limits = {code: rules[code].limit for code in summary.judges_of(report, figures)}
        judged = [(limits[code], places) for code, places in summary.judges_of(report, figures).items()]
        plot = profile(title, series, names, guilty if i < 2 else frozenset(), judged, 320 if i == 0 else 180, i == 0)
        if plot is not None:
            shown.append(Panel(title, f"{note}{_dashed(limits)}", plot))
    return tuple(shown)


def _curvature(layers: Sequence[LayerSpectra]) -> tuple[str, str, Callable[[LayerSpectra], Quantity | None]]:
    if any(one.fisher_largest for one in layers):
        return "λmax of F", "The layer's own Fisher block, without the product form.", lambda one: one.fisher_largest
    return "λmax of Σ_x ⊗ Σ_g", _PRODUCT, lambda one: one.fisher.largest


def _dashed(limits: Mapping[str, Limit]) -> str:
    """What the dashed lines of a panel are."""
    told = "; ".join(f"limit {numbers.limit(limit.value, limit.unit)}, {code}" for code, limit in limits.items())
    return f" Dashed: {told}." if told else ""


def _after(one: LayerSpectra) -> Quantity | None:
    change = one.what_if.get("batch_norm")
    return change.condition_number.get("80") if change else None


def _at_80(spectrum: FactorSpectrum) -> Quantity | None:
    return spectrum.condition_number.get("80")


def _kappa(one: LayerSpectra) -> Quantity | None:
    return _at_80(one.input)


def layer_views(report: Report) -> tuple[LayerView, ...]:
    """Every layer in order of execution."""
    layers = report.measurements.layers
    marks = summary.accused(report)
    ranked = sorted(summary.worst_first(layers), key=lambda one: one.layer.name not in marks)
    plotted = {id(one) for one in ranked[:_MOST_PLOTS]}
    checked = {name: [one for one in report.measurements.exact if one.layer == name] for name in _checked(report)}
    return tuple(
        _view(one, i, marks.get(one.layer.name, ""), id(one) in plotted, checked.get(one.layer.name, ()))
        for i, one in enumerate(layers)
    )


def _checked(report: Report) -> set[str]:
    return {one.layer for one in report.measurements.exact}


def _view(
    one: LayerSpectra, place: int, severity: str, plotted: bool, checked: Sequence[ExactCurvature]
) -> LayerView:  # fmt: skip
    kappa, gain = summary.kappa(one), summary.gain(one)
    shown, after = numbers.figure(kappa), _after(one)
    gained = numbers.figure(gain).value if gain else ""
    curves = [
        Curve("Σ_x", one.input.curve, "curve input"),
        Curve("centred", one.centred.curve, "curve centred", "7 4"),
        *(
            Curve(_CHANGES[key], after.curve, "curve after", "2 3")
            for key, after in one.what_if.items()
            if key == "batch_norm"
        ),
        Curve("Σ_g", one.gradient.curve, "curve gradient", "9 3 2 3"),
    ]
    then = numbers.figure(after).value if after else ""
    return LayerView(
        spectra=one,
        anchor=f"layer-{place}",
        severity=severity,
        kappa=shown.value + ("" if kappa.reliable else " ?"),
        interval=shown.interval,
        after=then,
        gain=gained,
        cells=(
            numbers.number(summary.kappa(one, "50").value),
            shown.value,
            shown.interval,
            then,
            gained,
            numbers.figure(gain).interval if gain else "",
            numbers.figure(one.input.largest).value,
            numbers.figure(one.gradient.largest).value,
            _number(one.fisher_largest),
            numbers.figure(one.fisher.largest).value,
            numbers.rank(one.input),
        ),
        facts=(*_facts(one), *(("Cross-check", summary.exact(check)) for check in checked)),
        rows=_rows(one),
        plot=spectra("Spectra", curves) if plotted else None,
    )


def _early(one: LayerSpectra) -> str:
    return f"; Σ_x of {numbers.grouped(one.input_samples)} of them, which made it known well enough" * bool(
        one.input_samples
    )


def _facts(one: LayerSpectra) -> tuple[tuple[str, str], ...]:
    layer = one.layer
    reads = layer.reads + (f", through {layer.through}" if layer.through else "")
    energy = numbers.figure(replace(one.mean_energy, unit="share"))
    enough = "" if one.samples >= one.enough_samples else f", too few: κ of Σ_x needs {one.enough_samples}"
    shape = f"{layer.inputs} → {layer.outputs}" + (f" in {layer.groups} groups" if layer.groups > 1 else "")
    kind = f"{layer.kind}, {layer.geometry}" if layer.geometry else layer.kind
    own = f"{numbers.spoken(one.fisher_largest)}; " if one.fisher_largest else ""
    return (
        ("Kind", kind),
        ("Shape", f"{shape}, {count(layer.parameters, 'parameter')}"),
        ("Reads", reads),
        ("Rows", f"{count(one.samples, 'sample')} × {count(layer.positions, 'position')}{enough}{_early(one)}"),
        *([("κ_80 of Σ_x is", numbers.made_of(parts))] if (parts := one.attribution.get("80")) else []),
        ("Mean's share of the energy", f"{energy.value}{f' ({energy.interval})' if energy.interval else ''}"),
        ("Dead inputs", f"{one.input.zero} of {one.input.dimension}"),
        ("‖W‖", numbers.number(one.weight_norm)),
        ("λmax of F itself", f"{own}{one.trust}"),
        ("λmax·‖W‖²", numbers.spoken(one.scaled_curvature)),
        ("Labels of Σ_g", one.gradient_label),
        *([("Kept as", one.form)] if one.form else []),
    )


#: Headings of a layer's table, the first one of text.
ROW_HEADINGS = (
    "Matrix",
    "κ_50",
    "κ_80",
    "95 % interval",
    "κ_80, plug-in",
    "κ_90",
    "κ_100",
    "λmax",
    "95 % interval",
    "Rank",
    "Effective rank",
)
FOOTNOTE = (
    "Where an interval stands, the figure is the best estimate with its small-sample bias removed; plug-in is the "
    "definition evaluated on this very probe. Ranks and the centred matrix are plug-in. κ and gains "
    "are pure numbers; λmax of Σ_x is in squared units of the layer's input, λmax of Σ_g in squared nats per unit of "
    "its output. Σ_x ⊗ Σ_g stands for the layer's Fisher block F; F itself is measured from gradients of single "
    "samples, and each layer says how far its product can be trusted. Figures of Σ_x and Σ_g alone do not rest on this."
)


def _rows(one: LayerSpectra) -> tuple[tuple[str, ...], ...]:
    spectrums = (("Σ_x", one.input), ("centred C", one.centred), ("Σ_g", one.gradient), ("Σ_x ⊗ Σ_g ≈ F", one.fisher))
    rows = []
    for label, spectrum in spectrums:
        largest = numbers.figure(spectrum.largest)
        rank = numbers.rank(spectrum)
        effective = numbers.figure(spectrum.effective_rank).value
        rows.append((label, *_kappas(spectrum.condition_number), largest.value, largest.interval, rank, effective))
    for key, change in one.what_if.items():
        rows.append((f"Σ_x {_CHANGES.get(key, key)}", *_kappas(change.condition_number), "", "", "", ""))
    for key in _KEPT:
        if key in one.what_if and (product := one.what_if[key].product):
            rows.append((f"Σ_x ⊗ Σ_g {_CHANGES[key]}", *_kappas(product), "", "", "", ""))
    return tuple(rows)


def _kappas(known: Mapping[str, Quantity]) -> tuple[str, ...]:
    """κ_50, κ_80 with interval and plug-in value, κ_90, κ_100."""
    at_50, at_80, at_90, at_100 = (known.get(p) for p in ("50", "80", "90", "100"))
    shown = numbers.figure(at_80) if at_80 else numbers.Figure("")
    plug_in = numbers.number(at_80.raw) if at_80 else ""
    return _number(at_50), shown.value, shown.interval, plug_in, _number(at_90), _number(at_100)


def _number(quantity: Quantity | None) -> str:
    return numbers.figure(quantity).value if quantity else ""
