"""What a reader asks of a report first, the same in every format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lcaudit.core import figures as numbers
from lcaudit.core.measurements import ExactCurvature, LayerSpectra, ProbeFit
from lcaudit.core.outcomes import SEVERITIES, Check, Effect, Finding, Fix, Limit, Report, RuleRecord
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.trust import HOLDS
from lcaudit.reports._comparison_words import sentence

VERDICTS = {"pass": "PASS", "fail": "FAIL", "incomplete": "INCOMPLETE"}
#: Status of a check → its words in a list of counts.
STATUSES = {
    "pass": "passed",
    "fail": "failed",
    "undecided": "undecided",
    "skip": "not applicable",
    "crash": "not run",
}
#: Beside the severities, what a failed check can be behind.
SUPPRESSED = "suppressed"
#: --fail-on in words.
GATES = {
    "error": "the gate fails on errors",
    "warning": "the gate fails on errors and warnings",
    "info": "the gate fails on any finding",
    "never": "the gate fails on no finding",
}
#: Nats beyond which a perplexity has no meaning any more, only digits.
_MOST_LOSS = 100.0
#: What the figures are about, for a reader who has never met one.
PRIMER = (
    "κ, the condition number, says how lopsided a layer's input is: how many times more it varies (mean square) along "
    "its strongest direction than along a weak one. Gradient descent needs steps about in proportion to κ: 1 is ideal, "
    "and a smaller κ makes a layer easier to train further.",
    "κ does not say how well the model predicts: layers of accurate public CIFAR-10 ResNets have κ_80 from about 100 "
    "to 50 000. So a layer is judged by the gain that a change would bring, κ_80 now divided by κ_80 after it. "
    "(κ_80 leaves the weakest fifth of the directions out.)",
)
#: The tags of fixes in a line of text.
TAGS = {
    "safe": "same outputs",
    "unsafe": "outputs change, or retraining is needed",
    "display": "advice, to judge and act on yourself",
}
APPLICABILITY = {
    "safe": "safe: the network computes the same function, to rounding",
    "unsafe": "unsafe: the function changes, or retraining is needed",
    "display": "advice: nothing that lcaudit can apply",
}


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one rule that say the same: which layers, why, and the first one's figure."""

    rule: str
    name: str
    reason: str
    layers: tuple[str, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """Checks by status, findings by severity, and the failed checks by the severity of their finding."""

    checks: Counter[str]
    findings: Counter[str]

    blamed: Counter[str] = field(default_factory=Counter)

    @property
    def decided(self) -> int:
        """Checks that passed or failed."""
        return self.checks["pass"] + self.checks["fail"]


def tally(report: Report) -> Tally:
    """Count checks and findings."""
    places: dict[tuple[str, str], str] = {}
    for finding in (*report.findings, *report.suppressed):
        said = SUPPRESSED if finding.suppression else finding.severity
        places.update(((finding.rule, layer), said) for layer in finding.layers or ("",))
    rules = rule_names(report)
    blamed = Counter(
        places.get((check.rule, check.layer)) or (rules[check.rule].severity if check.rule in rules else "info")
        for check in report.checks
        if check.status == "fail"
    )
    return Tally(Counter(check.status for check in report.checks), Counter(f.severity for f in report.findings), blamed)


def hardly_decided(report: Report) -> str:
    """What a gate that passed says little about: ``5 of 10 rules undecided``, where that is half or more; else ``""``.

    By rule, since one that is decided in every layer would outweigh all others; notes fail no gate.
    """
    grave = {code for code, rule in rule_names(report).items() if rule.severity != "info"}
    said = {status: {c.rule for c in report.checks if c.status == status} & grave for status in STATUSES}
    decided = said["pass"] | said["fail"]
    left = said["undecided"] - decided
    if report.gate.verdict != "pass" or not left or len(left) < len(decided):
        return ""
    return f"{len(left)} of {count(len(left | decided), 'rule')} undecided"


_NOUNS = {"error": "error", "warning": "warning", "info": "note"}


def severities(found: Tally) -> str:
    """``0 errors, 2 warnings, 1 note``."""
    return ", ".join(count(found.findings[severity], _NOUNS[severity]) for severity in SEVERITIES)


def behind(found: Tally) -> str:
    """Of the failed checks: ``3 behind warnings, 16 behind notes, 1 suppressed``; ``""`` where none failed."""
    parts = [
        f"{found.blamed[severity]} behind {_NOUNS[severity]}s" for severity in SEVERITIES if found.blamed[severity]
    ]
    return ", ".join(parts + [f"{found.blamed[SUPPRESSED]} suppressed"] * bool(found.blamed[SUPPRESSED]))


def account(found: Tally) -> str:
    """What became of every check: ``57 passed, 3 behind warnings, 1 undecided, …``."""
    checks = found.checks
    parts = [f"{checks['pass']} passed", behind(found)]
    parts += [f"{checks[status]} {STATUSES[status]}" for status in ("undecided", "skip", "crash")]
    return f"{count(sum(checks.values()), 'check')}: {', '.join(filter(None, parts))}"


def suppression(finding: Finding) -> str:
    """Why a finding does not count, until when, and where that is written."""
    wish = finding.suppression
    if wish is None:
        return ""
    until = f", until {wish.until}" if wish.until else ""
    return f"{wish.reason or 'no reason given'}{until}" + (f" ({wish.source})" if wish.source else "")


def error_words(fit: ProbeFit) -> str:
    """What the error is of."""
    return f"{display_name(fit.prediction, 40).replace(' ', '-')} error" if fit.prediction else "error"


def loss_words(fit: ProbeFit) -> str:
    """The loss; of language models as perplexity too."""
    assert fit.loss is not None, "asked where labels are"
    words = f"loss {numbers.spoken(fit.loss)}"
    if not fit.prediction or not fit.loss.value < _MOST_LOSS:
        return words
    return f"{words} a token, perplexity {numbers.number(math.exp(fit.loss.value))}"


def unlabelled(report: Report, joint: str) -> str:
    """What is known of the predictions without labels; the entropy of real values is a convention's."""
    fit = report.measurements.fit
    assert fit is not None, "asked after a run"
    if report.measurements.settings.task == "regression":
        return "no labels"
    return f"no labels{joint}predictive entropy {numbers.spoken(fit.entropy)}"


def fit_untested(report: Report) -> str:
    """Why it is not known whether the probe fits the network, though the network was run; else ``""``."""
    fit = report.measurements.fit
    check = next((check for check in report.checks if check.rule == "LC901"), None)
    if fit is None or (check and check.status != "skip"):
        return ""
    if fit.error is None and fit.loss is None:
        return "Fit to the probe not tested: no labels."
    return f"Fit to the probe not tested: {check.reason}." if check else ""


def rule_names(report: Report) -> dict[str, RuleRecord]:
    """Rules by code."""
    return {rule.code: rule for rule in report.rules}


def groups(report: Report, status: str) -> tuple[Group, ...]:
    """Checks with ``status``, those of one rule and one reason together, in order of first appearance."""
    found: dict[tuple[str, str], list[Check]] = {}
    names = rule_names(report)
    for check in report.checks:
        if check.status == status:
            found.setdefault((check.rule, check.reason), []).append(check)
    return tuple(
        Group(
            rule,
            names[rule].name if rule in names else "",
            reason,
            tuple(check.layer for check in checks if check.layer),
            tuple(checks),
        )
        for (rule, reason), checks in found.items()
    )


def accused(report: Report) -> dict[str, str]:
    """Layers that a finding names → its worst severity."""
    worst: dict[str, str] = {}
    for severity in SEVERITIES:
        for finding in report.findings:
            if finding.severity == severity:
                for layer in finding.layers:
                    worst.setdefault(layer, severity)
    return worst


def kappa(spectra: LayerSpectra, percentile: str = "80") -> Quantity:
    """κ_p of Σ_x; undefined where the layer has none (an input that is all zeros)."""
    return spectra.input.condition_number.get(percentile, Quantity(math.nan, method="none"))


def gain(spectra: LayerSpectra) -> Quantity | None:
    """What a BatchNorm before this layer would gain: κ_80 before / after, in ×."""
    change = spectra.what_if.get("batch_norm")
    return replace(change.gain, unit="×") if change else None


def products(report: Report) -> str:
    """Which layers' Kronecker products give their own Fisher's λmax, in one sentence; ``""`` if none was compared."""
    layers = report.measurements.layers
    compared = [one for one in layers if one.kronecker_ratio is not None]
    if not compared:
        return ""
    held = [one.layer.name for one in compared if one.product_holds]
    off = sum(one.product_holds is False for one in compared)
    open_ = len(compared) - len(held) - off
    named = f" ({one_line(held, 4)})" if held else ""
    rest = len(layers) - len(compared)
    beside = f", and was not compared in {rest}" if rest else ""
    return (
        f"λmax of Σ_x ⊗ Σ_g holds within ×{HOLDS:g} of the layer's own Fisher in {len(held)} of "
        f"{count(len(layers), 'layer')}{named}, is further off in {off}, could not be told in {open_}{beside}; "
        "verdicts about conditioning rest on Σ_x and Σ_g by themselves."
    )


def exact(one: ExactCurvature) -> str:
    """A cross-check in words, its layer left out."""
    matrix = (
        "the loss's Hessian, given labels" if one.kind == "hessian" else "the Gauss–Newton matrix (expected Fisher)"
    )
    found = f"λmax of {matrix}, by Lanczos iteration: {numbers.figure(replace(one.largest, low=None, high=None)).value}"
    ends = f"residual bound {numbers.figure(one.largest).interval}" if one.largest.low is not None else "no bound"
    return f"{found}, {ends}" + ("" if one.converged else ", NOT converged")


def worst_first(layers: Iterable[LayerSpectra]) -> tuple[LayerSpectra, ...]:
    """By κ_80 of Σ_x, largest first; undefined ones lead, since nothing good is known of them."""

    def badness(spectra: LayerSpectra) -> float:
        value = kappa(spectra).value
        return math.inf if math.isnan(value) else value

    return tuple(sorted(layers, key=badness, reverse=True))


def side(finding: Finding) -> str:
    """Where the figure lies relative to its limit, with the interval that verdicts look at."""
    where = finding.measured.against(finding.limit.value)
    return {
        "above": "over the limit",
        "below": "under the limit",
        "straddles": "limit inside the interval",
        "unknown": "no interval to compare with the limit",
    }[where]


def verdict_sentence(report: Report) -> str:
    """What was found, in a sentence or two. Text from the report is not yet escaped."""
    hidden = len(report.suppressed)
    return _found(report) + (f" {count(hidden, 'finding')} suppressed." if hidden else "")


def _found(report: Report) -> str:
    if report.baseline and report.baseline.having("worse"):
        return sentence(report.baseline)
    told = [finding for finding in report.findings if finding.severity != "info"]
    defects = [finding for finding in told if finding.kind == "defect"]
    if defects:
        worst = defects[0]
        place = f" ({worst.layers[0]})" if len(worst.layers) == 1 and worst.layers[0] not in worst.title else ""
        more = f", and {count(len(told) - 1, 'more finding')}" if len(told) > 1 else ""
        return f"{worst.title.rstrip('.')}{place}{more}."
    found = tally(report)
    if found.decided == 0:
        return "Nothing was decided: no check could compare its figure with its limit."
    whole = not (found.checks["undecided"] or found.checks["crash"])
    healthy = "No defect found" if whole else "No defect found among the checks that were decided"
    if any(finding.kind == "defect" for finding in report.suppressed):
        healthy += ", beyond what is suppressed"
    if told:
        calm = ": nothing has to be done" if whole else ""
        changes = f"{count(len(told), 'change')} of architecture"
        return f"{healthy}{calm}. {changes} would make layers easier to train further."
    if report.findings:
        return f"{healthy}; {count(len(report.findings), 'note')}."
    return f"{healthy}: every check that applies passed." if whole and not report.suppressed else f"{healthy}."


def doubt(report: Report) -> str:
    """A warning before all other findings, where one of them casts doubt on the rest; else ``""``."""
    rules = rule_names(report)
    doubtful = [f for f in report.findings if f.rule in rules and rules[f.rule].casts_doubt]
    if not doubtful or len(doubtful) == len(report.findings):
        return ""
    codes = " and ".join(dict.fromkeys(finding.rule for finding in doubtful))
    return f"Clear {codes} first: until then the other figures may describe the wrong data."


def ranked(fix: Fix) -> tuple[tuple[Effect, ...], tuple[Effect, ...]]:
    """Effects on the fix's first figure, and on all others, each largest gain first."""
    effects = sorted(fix.effects, key=lambda effect: -effect.gain.value)
    leading = fix.effects[0].metric if fix.effects else ""
    return tuple(e for e in effects if e.metric == leading), tuple(e for e in effects if e.metric != leading)


def promise(fix: Fix) -> str:
    """What a fix does to its first figure, in a few words; ``""`` where no effect was computed."""
    if not fix.effects:
        return ""
    first = fix.effects[0]
    gains = [effect.gain for effect in ranked(fix)[0]]
    if len(gains) == 1:
        change = f"{numbers.figure(first.before).value} → {numbers.figure(first.after).value}"
        return f"{first.metric} {change}, {numbers.figure(gains[0]).value}, {first.basis}"
    return f"{first.metric} falls {numbers.span(gains)}, {first.basis}"


def price(fix: Fix) -> str:
    """What a fix costs, in numbers: ``+128 parameters, +192 operations per sample, no retraining``."""
    if fix.price is None:
        return ""
    added, operations = fix.price.parameters, fix.price.operations
    parts = [
        "no parameters" if not added else f"{added:+,} parameters".replace(",", " "),
        "" if operations is None else f"{operations:+,} operations per sample".replace(",", " ") if operations else
        "no operations",
        "retraining" if fix.price.retraining else "no retraining",
    ]  # fmt: skip
    return ", ".join(filter(None, parts)).replace("-", "−")


def judges_of(report: Report, figures: Sequence[Quantity | None]) -> dict[str, tuple[int, ...]]:
    """Codes of the rules that judge these figures, one for each layer → the places of the layers they judge.

    A rule may judge some layers by a figure of its own; its limit holds for them too.
    """
    layers = report.measurements.layers
    drawn = {(one.layer.name, _identity(q)) for one, q in zip(layers, figures, strict=True) if q is not None}
    measured = [check for check in report.checks if check.measured is not None]
    codes = {c.rule: None for c in measured if c.measured and (c.layer, _identity(c.measured)) in drawn}
    known, judged = rule_names(report), {(check.rule, check.layer) for check in measured}
    return {
        code: tuple(place for place, one in enumerate(layers) if (code, one.layer.name) in judged)
        for code in codes
        if code in known
    }


def _identity(quantity: Quantity) -> tuple[float, float | None, float | None]:
    return quantity.value, quantity.low, quantity.high


def straddled(group: Group, report: Report) -> Limit | None:
    """The limit that the one figure of ``group`` could not be told from; ``None`` where the reason is another."""
    rule, measured = rule_names(report).get(group.rule), group.checks[0].measured
    if rule is None or measured is None or len(group.checks) > 1 or measured.unit != rule.limit.unit:
        return None
    return rule.limit if measured.against(rule.limit.value) == "straddles" else None
