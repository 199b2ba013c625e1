"""LC901 probe-does-not-fit: the network does far worse on the probe than its weights can do.

What it means
    Either the network's error on the probe cannot be told from that of a constant guess, or its loss is
    worse than that of a uniform one, or its error is clearly above the one that the checkpoint records.

Why it matters
    Conditioning, ranks and dead features are properties of a network on data. On data, or with a
    preprocessing, that it was not trained for, the figures are real but describe a network in a state
    that nobody trains or uses. So every other figure of the report is in doubt until this one is clear.

How it is measured
    The error is the share of wrong top-1 predictions, with a 95 % Wilson interval. Near chance: the
    interval reaches the error of the best constant guess, and lies above 80 % of it. The loss is compared
    with ln C, that of a uniform guess over C classes. Recorded accuracy: the whole interval lies more
    than 2 percentage points above the upper end of the recorded error's own interval, which assumes that
    it was measured on 10 000 samples.

How sure
    Each comparison uses the whole interval; where the limit lies inside it the answer is "undecided",
    which with fewer than a few hundred samples is common. If the recorded figure came from fewer
    than 10 000 samples, its own uncertainty is understated; the 2 points leave room for that.

False alarms
    A checkpoint may record another figure than the final top-1 test accuracy (a best epoch's, another
    data set's, an ensemble's). A network that is untrained on purpose is at chance and fits. Where one
    class holds most of the probe, a constant guess is so good that it is not compared with.

What to do
    Compare mean and std, channel order and value range with the training code; check that the data are
    the lossless originals and not re-encoded copies (JPEG copies of CIFAR-10 took a public ResNet-20 from
    8 % to 19 % error); check the split, and the order of the classes. Then run again. The other findings
    are worth reading after that.

Source
    Wilson 1927 (interval). 2 points, 80 % and 10 000 samples were chosen. On public CIFAR-10
    ResNet-20/32/44, red and blue exchanged cost 6 to 9 points of error, a wrong mean and std 6 to 9, JPEG
    copies 9 to 12, other samples of the test set less than half a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lcaudit.core import specimen
from lcaudit.core.measurements import Measurements, ProbeFit, RecordedAccuracy
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import Quantity, wilson
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import FailBeyond, NotedPass, figure, interval, percent, percent_interval, replay
from lcaudit.rules.stale_batch_norm_statistics import LIMIT as REPLAY_LIMIT

#: Worse than the recorded error's interval by this much is more than a resampled test set explains.
MARGIN = 0.02
#: Assumed size of the set behind a recorded accuracy.
RECORDED_ON = 10_000
#: Near chance is an interval that reaches chance and excludes errors below this share of it.
NEAR = 0.8

LIMIT = Limit(
    MARGIN,
    "1",
    "chosen: 2 percentage points beyond the interval of the recorded error (assumed to be of 10 000 samples); without "
    "a record, the error of the best constant guess",
)


def check(measurements: Measurements) -> Sequence[Outcome]:
    """One verdict: the first fail of three comparisons, else what is undecided, else a pass."""
    fit = measurements.fit
    if fit is None:
        return [Skip("", "the network was not run on a probe")]
    if fit.error is None:
        return [Skip("", "the probe has no labels, so its fit cannot be tested")]
    support = evidence(measurements, fit)
    outcomes = (
        _near_chance(fit, fit.error, measurements.network.classes, support),
        _worse_than_uniform(fit, fit.error, measurements.network.classes, support),
        _far_from_recorded(fit.error, measurements.checkpoint.recorded, support),
    )
    for kind in (Fail, Undecided, NotedPass):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return [outcome]
    return [Pass("", fit.error)]


def evidence(measurements: Measurements, fit: ProbeFit) -> tuple[str, ...]:
    """The figures behind the verdict, and the batch norms as a second witness."""
    assert fit.error is not None, "asked after labels were found"
    sentences = [f"Error {percent(fit.error.value)} on the probe ({percent_interval(fit.error)})."]
    if fit.chance is not None:
        sentences.append(f"The best constant guess makes {percent(fit.chance)} errors on these labels.")
    if fit.loss is not None and measurements.network.classes > 1:
        uniform = figure(math.log(measurements.network.classes))
        sentences.append(f"Loss {figure(fit.loss.value)} nat ({interval(fit.loss)}); a uniform guess has {uniform}.")
    recorded = measurements.checkpoint.recorded
    if recorded is not None and _usable(recorded):
        sentences.append(
            f"The checkpoint records an accuracy of {percent(recorded.value)} under {display_name(recorded.key, 80)}; "
            f"it is taken to be of {count(RECORDED_ON, 'test sample')}."
        )
    shift = replay(measurements)
    if shift is not None and shift.against(REPLAY_LIMIT.value) == "above":
        sentences.append(
            f"The batch norms agree that it does not fit: their statistics on the probe are off by "
            f"{figure(shift.value)} (LC401)."
        )
    return tuple(sentences)


def _ends(error: Quantity) -> tuple[float, float] | None:
    """Ends of a usable interval."""
    if error.against(1.0) == "unknown":
        return None
    if error.low is None or error.high is None:
        return error.value, error.value
    return error.low, error.high


def _near_chance(fit: ProbeFit, error: Quantity, classes: int, support: tuple[str, ...]) -> Outcome:
    ends = _ends(error)
    if ends is None:
        return Undecided("", error, "the error has no usable interval")
    if fit.chance is None or classes < 2 or fit.chance < (1 - 1 / classes) / 2:
        return Pass("", error)
    low, high = ends
    if high < fit.chance:
        return Pass("", error)
    if low >= NEAR * fit.chance:
        limit = Limit(fit.chance, "1", "error of the best constant guess on these labels")
        return FailBeyond("", error, "near-chance", support, limit)
    return Undecided(
        "",
        error,
        f"the {percent_interval(error)} of the error reaches chance ({percent(fit.chance)}), and with "
        f"{count(error.n, 'sample')} is too wide to say that the network is no better",
    )


def _worse_than_uniform(fit: ProbeFit, error: Quantity, classes: int, support: tuple[str, ...]) -> Outcome:
    if fit.loss is None or classes < 2:
        return Pass("", error)
    place = fit.loss.against(math.log(classes))
    if place == "below":
        return Pass("", error)
    if place == "above":
        limit = Limit(math.log(classes), "nat", f"loss of a uniform guess over {count(classes, 'class', 'classes')}")
        return FailBeyond("", fit.loss, "worse-than-uniform", support, limit)
    if place == "straddles":
        reason = f"the loss ({interval(fit.loss)}) cannot be told from that of a uniform guess"
    else:
        reason = "the loss has no usable interval"
    return Undecided("", error, reason)


def _usable(recorded: RecordedAccuracy) -> bool:
    return 0.0 <= recorded.value <= 1.0


def _far_from_recorded(error: Quantity, recorded: RecordedAccuracy | None, support: tuple[str, ...]) -> Outcome:
    ends = _ends(error)
    if recorded is None or ends is None:
        return Pass("", error)
    if not _usable(recorded):
        return NotedPass("", error, "the recorded accuracy is not a share between 0 and 1 and was not compared")
    record = wilson(round((1 - recorded.value) * RECORDED_ON), RECORDED_ON)
    assert record.low is not None and record.high is not None, "Wilson's interval has ends"
    bound = record.high + MARGIN
    place = error.against(bound)
    if place == "above":
        source = f"recorded error {percent(record.value)}, upper end {percent(record.high)}, plus 2 points"
        return FailBeyond("", error, "far-from-recorded", support, Limit(bound, "1", source))
    if place == "straddles":
        return Undecided(
            "",
            error,
            f"the {percent_interval(error)} of the error holds {percent(bound)}, the most that the recorded error of "
            f"{percent(record.value)} explains; use more than {count(error.n, 'sample')}",
        )
    if ends[1] < record.low - MARGIN:
        return NotedPass(
            "",
            error,
            f"far better than the recorded error of {percent(record.value)}: "
            "perhaps data that the network was trained on",
        )
    return Pass("", error)


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """Why, in the first sentence; then what follows from it."""
    (fail,) = fails
    fit, recorded = measurements.fit, measurements.checkpoint.recorded
    assert fit is not None and fit.error is not None, "a fail has an error"
    error = percent(fit.error.value)
    if fail.cause == "far-from-recorded" and recorded is not None:
        why = f"error {error} on this probe, the checkpoint records {percent(1 - recorded.value)}"
    elif fail.cause == "worse-than-uniform":
        uniform = figure(math.log(measurements.network.classes))
        why = f"loss {figure(fail.measured.value)} nat on this probe, a uniform guess has {uniform}"
    else:
        why = f"error {error} on this probe, a constant guess makes {percent(fit.chance or math.nan)}"
    shift = replay(measurements)
    witness = ""
    if shift is not None and shift.against(REPLAY_LIMIT.value) == "above":
        witness = f" The batch-norm statistics say the same: they are off by {figure(shift.value)}."
    return (
        f"The probe does not fit the network: {why}",
        f"{why[0].upper()}{why[1:]}.{witness} So every other figure in this report describes the network on data, or "
        "with a preprocessing, that it was not trained for. Check mean and std, channel order, file format and split, "
        "then run again.",
    )


def _recorded(accuracy: float, wrong: int) -> Measurements:
    base = specimen.measurements(fit=specimen.fit(wrong))
    return replace(base, checkpoint=replace(base.checkpoint, recorded=RecordedAccuracy("best_prec1", accuracy)))


RULE = Rule(
    code="LC901",
    name="probe-does-not-fit",
    summary="The network does far worse on the probe than its weights can do",
    severity="error",
    kind="defect",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: _recorded(0.918, wrong=190),
    quiet=lambda: _recorded(0.918, wrong=83),
    skips=lambda: specimen.measurements(fit=replace(specimen.fit(), error=None, loss=None, chance=None)),
)
