"""What a rule can say, and the report that collects it; free of torch.

``Outcome = Pass | Fail | Undecided | Skip | Crash``. A check that did not run is never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lcaudit.core.comparison import Comparison
from lcaudit.core.measurements import Measurements
from lcaudit.core.quantity import Quantity
from lcaudit.core.verification import Verification

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold with its unit and where it comes from."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Pass:
    """The whole interval lies on the good side of the limit; ``note`` is a remark for the account."""

    layer: str
    measured: Quantity | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fail:
    """The whole interval lies beyond the limit.

    Attributes:
        layer: state-dict path, or ``""`` for the whole model.
        cause: fails of one rule that share a cause become one finding; ``""`` stands alone.
        evidence: further facts, one sentence each.
        limit, metric, severity: replace the rule's own in the finding, where another figure was judged or
            the amount calls for another severity.
    """

    layer: str
    measured: Quantity
    cause: str = ""
    evidence: tuple[str, ...] = ()
    limit: Limit | None = None
    metric: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Undecided:
    """The limit lies inside the interval, or the number is not reliable."""

    layer: str
    measured: Quantity | None
    reason: str


@dataclass(frozen=True, slots=True)
class Skip:
    """The rule does not apply here."""

    layer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Crash:
    """The rule itself failed: nothing is known, and the audit is incomplete."""

    layer: str
    reason: str


Outcome = Pass | Fail | Undecided | Skip | Crash


@dataclass(frozen=True, slots=True)
class Effect:
    """What a fix does to one number.

    Attributes:
        metric: e.g. ``κ_80 of Σ_x``. gain: before / after.
        basis: ``measured`` on the changed network, ``computed`` in closed form from the same moments,
            or ``literature``.
    """

    layer: str
    metric: str
    before: Quantity
    after: Quantity
    gain: Quantity
    basis: Literal["measured", "computed", "literature"]


@dataclass(frozen=True, slots=True)
class Price:
    """What a fix costs, in numbers.

    Attributes:
        parameters: learned numbers that it adds; negative where it takes some away.
        operations: additions and multiplications that it adds for one sample; ``None`` where that is not known.
        retraining: whether the function changes, so that weights must be trained again before use.
    """

    parameters: int
    operations: int | None
    retraining: bool


@dataclass(frozen=True, slots=True)
class Fix:
    """A change of architecture that would mend a finding.

    Attributes:
        id: name of the fix's file. title: one imperative sentence.
        applicability: ``safe`` (same function to rounding), ``unsafe`` (function changes or retraining
            is needed) or ``display`` (advice).
        how: what to do, in a few sentences. code: lines to paste, or ``""``.
        cost: parameters, operations and retraining, in words. price: the same in numbers; ``None`` where nothing
            about the network is changed.
    """

    id: str
    title: str
    applicability: Literal["safe", "unsafe", "display"]
    layers: tuple[str, ...]
    effects: tuple[Effect, ...]
    how: str
    code: str
    cost: str
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Suppression:
    """A wish that findings of some rules on some layers do not count.

    Attributes:
        rule: code, prefix of a code or name of the rules. layer: pattern (``*``, ``?`` and ``[…]`` as in file
            names) of the layers, ``""`` for all and for what speaks of the whole model.
        reason: why, in the words of whoever wrote it. until: last day on which it holds, ``YYYY-MM-DD``, or ``""``.
        source: where it was written.
    """

    rule: str
    layer: str = ""
    reason: str = ""
    until: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know, with everything needed to act on it.

    Attributes:
        id: ``CODE:layer`` or ``CODE:cause``, stable between runs.
        kind: ``defect`` (a fact) or ``opportunity`` (an estimated gain).
        metric: what the figure is, e.g. ``dead input entries, layer with the largest share``.
        measured: the figure judged; for several layers, the worst one.
        layers: the layers it speaks of, in order of execution; empty for the whole model.
        suppression: the wish by which it does not count; ``None`` where it counts.
    """

    id: str
    rule: str
    severity: Severity
    kind: Literal["defect", "opportunity"]
    title: str
    message: str
    layers: tuple[str, ...]
    metric: str
    measured: Quantity
    limit: Limit
    evidence: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
    suppression: Suppression | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One rule on one layer (or on the whole model, ``layer == ""``): the full account."""

    rule: str
    layer: str
    status: Literal["pass", "fail", "undecided", "skip", "crash"]
    measured: Quantity | None
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: a file in :mod:`lcaudit.rules` defines one as ``RULE``; its docstring is its manual page.

    Attributes:
        code: ``LC`` and three digits, never reused.
        metric: what the rule's figure is, in a few words; a finding shows it before the number.
        check: measurements → outcomes, one for each layer looked at.
        tell: (fails with one cause, measurements) → (title, message) of their finding. Text from files
            must pass ``display_name``.
        fires, quiet, skips: builders of small measurements on which the rule fails, passes, and skips;
            the contract tests run them.
        casts_doubt: while this rule has a finding, the other figures describe something else than the
            user means; it is told first.
        conventions: under which the limit holds; limits are never shared between conventions.
    """

    code: str
    name: str
    summary: str
    severity: Severity
    kind: Literal["defect", "opportunity"]
    metric: str
    limit: Limit
    check: Callable[[Measurements], Sequence[Outcome]]
    tell: Callable[[Sequence[Fail], Measurements], tuple[str, str]]
    fires: Callable[[], Measurements]
    quiet: Callable[[], Measurements]
    skips: Callable[[], Measurements]
    casts_doubt: bool = False
    conventions: tuple[str, ...] = ("kfac",)


@dataclass(frozen=True, slots=True)
class RuleRecord:
    """A rule as a report carries it: enough to read the report without lcaudit.

    Attributes:
        manual: the rule's manual page, text by heading (``What it means``, ``How sure``, …).
    """

    code: str
    name: str
    summary: str
    severity: Severity
    kind: Literal["defect", "opportunity"]
    metric: str
    limit: Limit
    casts_doubt: bool = False
    manual: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict that an exit code stands for.

    Attributes:
        verdict: ``pass`` (exit 0), ``fail`` (1) or ``incomplete`` (3).
        reasons: why, and what was assumed and not confirmed, one sentence each; empty for a plain pass.
        counts: checks by status.
    """

    fail_on: Literal["error", "warning", "info", "never"]
    min_coverage: float
    coverage: float
    verdict: Literal["pass", "fail", "incomplete"]
    exit_code: int
    reasons: tuple[str, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """When, and how long. The only part of a report that differs between identical runs."""

    started_at: str
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A line of a text file under version control that stands for a layer, counted from 1."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Report:
    """The one result: every format is a rendering of it.

    Attributes:
        findings: ranked, worst first. checks: every rule × layer, passes included.
        convention: the definitions behind the numbers, one sentence each.
        subject: path of the checkpoint below the working folder, with ``/``; its name where it lies elsewhere.
        suppressed: findings that do not count, each with its suppression. notices: what to know about the
            settings, one sentence each.
        anchors: layer → where formats for code reviews point to; ``""`` for the whole model. A layer without
            one is found at the first line of the checkpoint.
        baseline: the network against a baseline, where one was given.
        verification: of a network that ``lcaudit fix`` made, against the original.
    """

    schema_version: str
    run: Run
    gate: Gate
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    rules: tuple[RuleRecord, ...]
    convention: tuple[str, ...]
    measurements: Measurements
    subject: str = ""
    suppressed: tuple[Finding, ...] = ()
    notices: tuple[str, ...] = ()
    anchors: Mapping[str, Anchor] = field(default_factory=dict)
    baseline: Comparison | None = None
    verification: Verification | None = None
