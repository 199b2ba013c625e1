"""The page's view of the layers: figures over depth, and one layer at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from markupsafe import Markup

from lcaudit.core.measurements import FactorSpectrum, LayerSpectra
from lcaudit.core.outcomes import Report
from lcaudit.core.quantity import Quantity
from lcaudit.reports import _format as numbers
from lcaudit.reports import _summary as summary
from lcaudit.reports._plots import Curve, Series, profile, spectra

#: Beyond this many layers only those named in a finding and the worst ones keep their spectra.
_MOST_PLOTS = 80
_CHANGES = {"centring": "centred", "batch_norm": "after BatchNorm"}


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
    guilty = frozenset(i for i, one in enumerate(layers) if one.layer.name in summary.accused(report))
    after = Series("κ_80 after BatchNorm", tuple(_after(one) for one in layers), hollow=True)
    wanted: list[tuple[str, str, Callable[[LayerSpectra], Quantity | None]]] = [
        ("κ_80 of Σ_x", "Condition number of the input's second moment, and the same after a BatchNorm.", _kappa),
        ("Gain of a BatchNorm", "κ_80 of Σ_x before / after.", summary.gain),
        ("λmax of the layer's Fisher", "Of the product Σ_x ⊗ Σ_g.", lambda one: one.fisher.largest),
        ("λmax of Σ_x", "Scale of the input.", lambda one: one.input.largest),
        ("λmax of Σ_g", "Scale of the gradient.", lambda one: one.gradient.largest),
        ("κ_80 of Σ_g", "Condition number of the gradient's second moment.", lambda one: _at_80(one.gradient)),
        ("κ_80 of the layer's Fisher", "Over the products of eigenvalues.", lambda one: _at_80(one.fisher)),
    ]
    shown = []
    for i, (title, note, of) in enumerate(wanted):
        figures = tuple(of(one) for one in layers)
        series = [Series(title, figures), *([after] if i == 0 else [])]
        rules = summary.judges_of(report, figures)
        plot = profile(title, series, guilty, rules, 300 if i == 0 else 180)
        if plot is not None:
            shown.append(Panel(title, note, plot))
    return tuple(shown)


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
    return tuple(_view(one, i, marks.get(one.layer.name, ""), id(one) in plotted) for i, one in enumerate(layers))


def _view(one: LayerSpectra, place: int, severity: str, plotted: bool) -> LayerView:
    kappa, gain = summary.kappa(one), summary.gain(one)
    shown, after = numbers.figure(kappa), _after(one)
    gained = numbers.figure(replace(gain, unit="×")).value if gain else ""
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
    return LayerView(
        spectra=one,
        anchor=f"layer-{place}",
        severity=severity,
        kappa=shown.value + ("" if kappa.reliable else " ?"),
        interval=shown.interval,
        gain=gained,
        cells=(
            numbers.number(summary.kappa(one, "50").value),
            shown.value,
            shown.interval,
            numbers.figure(after).value if after else "",
            gained,
            numbers.number(one.fisher.largest.value),
            numbers.number(one.input.largest.value),
            numbers.number(one.gradient.largest.value),
            f"{one.input.rank}/{one.input.dimension}",
        ),
        facts=_facts(one),
        rows=_rows(one),
        plot=spectra("Spectra", curves) if plotted else None,
    )


def _facts(one: LayerSpectra) -> tuple[tuple[str, str], ...]:
    layer = one.layer
    reads = layer.reads + (f", through {layer.through}" if layer.through else "")
    energy = numbers.figure(replace(one.mean_energy, unit="share"))
    enough = "" if one.samples >= one.enough_samples else f", too few: κ of Σ_x needs {one.enough_samples}"
    shape = f"{layer.inputs} → {layer.outputs}" + (f" in {layer.groups} groups" if layer.groups > 1 else "")
    facts = [
        ("Shape", f"{shape}, {numbers.grouped(layer.parameters)} parameters"),
        ("Reads", reads),
        ("Rows", f"{numbers.grouped(one.samples)} samples × {layer.positions} positions{enough}"),
        ("Mean's share of the energy", f"{energy.value}{f' ({energy.interval})' if energy.interval else ''}"),
        ("Dead inputs", str(one.input.zero)),
        ("‖W‖", numbers.number(one.weight_norm)),
        ("λmax(F)·‖W‖²", numbers.figure(one.scaled_curvature).value),
        ("Σ_g labels", one.gradient_label),
    ]
    return tuple([("Geometry", layer.geometry), *facts] if layer.geometry else facts)


def _rows(one: LayerSpectra) -> tuple[tuple[str, ...], ...]:
    spectrums = (("Σ_x", one.input), ("centred", one.centred), ("Σ_g", one.gradient), ("F ≈ Σ_x ⊗ Σ_g", one.fisher))
    rows = []
    for label, spectrum in spectrums:
        kappas = (_number(spectrum.condition_number.get(p)) for p in ("50", "80", "90", "100"))
        at_80 = spectrum.condition_number.get("80")
        interval = numbers.figure(at_80).interval if at_80 else ""
        rank = f"{spectrum.rank}/{spectrum.dimension}"
        effective = numbers.number(spectrum.effective_rank)
        rows.append((label, *kappas, interval, numbers.figure(spectrum.largest).value, rank, effective))
    for key, change in one.what_if.items():
        kappas = (_number(change.condition_number.get(p)) for p in ("50", "80", "90", "100"))
        gain = numbers.figure(replace(change.gain, unit="×"))
        label = f"Σ_x if {_CHANGES.get(key, key)}" if key == "centring" else f"Σ_x {_CHANGES.get(key, key)}"
        at_80 = change.condition_number.get("80")
        interval = numbers.figure(at_80).interval if at_80 else ""
        rows.append((label, *kappas, interval, f"gain {gain.value}", "", ""))
    return tuple(rows)


def _number(quantity: Quantity | None) -> str:
    return numbers.number(quantity.value) if quantity else ""
