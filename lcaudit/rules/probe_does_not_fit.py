"""LC901 probe-does-not-fit: the network does far worse on the probe than its weights can do.

What it means
    Either the network's error on the probe cannot be told from that of a constant guess, or its loss is
    worse than that of a uniform one, or its error is clearly above the one that the checkpoint records;
    or all samples of the probe are alike.

Why it matters
    Conditioning, ranks and dead features are properties of a network on data. On data, or with a
    preprocessing, that it was not trained for, the figures are real but describe a network in a state
    that nobody trains or uses. So every other figure of the report is in doubt until this one is clear.

How it is measured
    The error is the share of wrong top-1 predictions, with a Wilson interval. Near chance: the interval
    reaches the error of the best constant guess, and lies above 80 % of it. The loss is compared
    with ln C, that of a uniform guess over C classes. Recorded accuracy: the whole interval lies more
    than 2 percentage points above the upper end of the recorded error's own interval, which assumes that
    it was measured on 10 000 samples. Alike: mean and largest eigenvalue of what the first layers read are
    the same, to rounding, whichever samples are taken; this needs no labels.

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
    ResNet-20/32/44, red and blue exchanged cost 4 to 8 points of error, a mean and std of 0.5 6 to 9, JPEG
    copies 9 to 12, other samples of the test set less than half a point. What the batch norms can and
    cannot see of it is measured too: `lcaudit explain LC401` has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lcaudit.core import figures, specimen
from lcaudit.core.measurements import Measurements, ProbeFit, RecordedAccuracy
from lcaudit.core.outcomes import Fail, Limit, Outcome, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import VERDICT_LEVEL, Quantity, exact, wilson
from lcaudit.core.text import count, display_name
from lcaudit.rules._base import alike, replay
from lcaudit.rules.stale_batch_norm_statistics import LIMIT as REPLAY_LIMIT

#: Worse than the recorded error's interval by this much is more than a resampled test set explains.
MARGIN = 0.02
#: Assumed size of the set behind a recorded accuracy.
RECORDED_ON = 10_000
#: Near chance is an interval that reaches chance and excludes errors below this share of it.
NEAR = 0.8

LIMIT = Limit(
    MARGIN,
    "share",
    "chosen: 2 percentage points beyond the interval of the recorded error (assumed to be of 10 000 samples); without "
    "a record, the error of the best constant guess",
)

_PICTURES = (
    "another mean and std, pixels in 0 to 255, another channel order, re-encoded (JPEG) or resized images, another "
    "split, another order of classes."
)
_TEXT = "another tokenizer, special tokens that training did not use, text of another language or kind."
#: The finding of a probe whose samples do not differ.
ALIKE = "samples-alike"
LEAST = Limit(2, "1", "by definition: nothing can vary over one input")


def check(measurements: Measurements) -> Sequence[Outcome]:
    """One verdict: samples that are alike, the first fail of three comparisons, what is undecided, or a pass."""
    fit = measurements.fit
    if fit is None:
        return [Skip("", "the network was not run on a probe")]
    if alike(measurements):
        found = exact(1)
        return [Fail("", found, ALIKE, _likeness(measurements), LEAST, "distinct samples in the probe")]
    if fit.error is None and fit.loss is not None:
        return [Skip("", "right and wrong are not defined for real values, so the fit cannot be tested")]
    if fit.error is None:
        return [Skip("", "the probe has no labels, so its fit cannot be tested")]
    support = evidence(measurements, fit)
    outcomes = (
        _near_chance(fit, fit.error, choices(measurements), support),
        _worse_than_uniform(fit, fit.error, choices(measurements), support),
        _far_from_recorded(fit.error, measurements.checkpoint.recorded, support),
    )
    for kind in (Fail, Undecided):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return [outcome]
    return [outcomes[-1]]


def _likeness(measurements: Measurements) -> tuple[str, ...]:
    first = next(one for one in measurements.layers if one.layer.reads == "network input")
    return (
        f"What {display_name(first.layer.name)} reads from the network's input is the same in every sample: its "
        "largest eigenvalue and its mean do not depend on which samples are taken.",
    )


def choices(measurements: Measurements) -> int:
    """Answers that one prediction chooses from; 0 where that is not known."""
    return 2 if measurements.settings.task == "binary" else measurements.network.classes


def evidence(measurements: Measurements, fit: ProbeFit) -> tuple[str, ...]:
    """The figures behind the verdict."""
    assert fit.error is not None, "asked after labels were found"
    error = figures.figure(fit.error).value
    sentences = [f"Error {error} on the probe ({figures.interval(fit.error)}, {count(fit.error.n, 'sample')})."]
    if fit.chance is not None:
        sentences.append(f"The best constant guess makes {figures.percent(fit.chance)} errors on these labels.")
    if fit.loss is not None and choices(measurements) > 1:
        uniform = figures.number(math.log(choices(measurements)))
        loss = figures.figure(fit.loss).value
        sentences.append(f"Loss {loss} ({figures.interval(fit.loss)}); a uniform guess has {uniform} nat.")
    recorded = measurements.checkpoint.recorded
    if recorded is not None and _usable(recorded):
        sentences.append(
            f"The checkpoint records an accuracy of {figures.percent(recorded.value)} under "
            f"{display_name(recorded.key, 80)}; it is taken to be of {count(RECORDED_ON, 'test sample')}."
        )
    return tuple(sentences)


def witness(measurements: Measurements) -> tuple[str, ...]:
    """What the batch norms say to it, in one sentence, where there are any."""
    shift = replay(measurements)
    if shift is None:
        return ()
    told = f"batch-norm statistics on the probe are off by {figures.spoken(shift)}"
    limit = figures.limit(REPLAY_LIMIT.value, REPLAY_LIMIT.unit)
    place = shift.against(REPLAY_LIMIT.value)
    if place == "above":
        return (f"The batch norms agree: {told}, beyond the limit of {limit}, so the input itself differs (LC401).",)
    if place == "below":
        return (
            f"The batch norms rule out a gross error such as a missing normalisation: {told}, within the limit of "
            f"{limit}. They cannot see small ones: on public CIFAR-10 ResNets the right images give 0.30 to 0.32, JPEG "
            "copies 0.37 to 0.41, no normalisation 1.57 to 1.81.",
        )
    return (f"The batch norms do not settle it: {told}, the limit is {limit} (LC401).",)


def _ends(error: Quantity) -> tuple[float, float] | None:
    """Ends of the interval that verdicts look at, if it is usable."""
    return None if error.against(1.0) == "unknown" else error.at(VERDICT_LEVEL)


def _near_chance(fit: ProbeFit, error: Quantity, classes: int, support: tuple[str, ...]) -> Outcome:
    ends = _ends(error)
    if ends is None:
        return Undecided("", error, "the error has no usable interval")
    if fit.chance is None or classes < 2:
        return Pass("", error)
    low, high = ends
    if low > 1 - 1 / classes:  # however the labels are distributed
        limit = Limit(1 - 1 / classes, "share", f"error of a uniform guess over {count(classes, 'class', 'classes')}")
        return Fail("", error, "near-chance", support, limit)
    if fit.chance < (1 - 1 / classes) / 2:
        return Pass("", error)
    if high < fit.chance:
        return Pass("", error)
    near = NEAR * fit.chance
    if low > near:
        source = f"80 % of {figures.percent(fit.chance)}, the error of the best constant guess on these labels"
        limit = Limit(near, "share", f"{source}; the interval also reaches that error")
        return Fail("", error, "near-chance", support, limit)
    return Undecided(
        "",
        error,
        f"the {figures.judged_interval(error)} of the error reaches chance ({figures.percent(fit.chance)}), and with "
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
        return Fail("", fit.loss, "worse-than-uniform", support, limit, "loss on the probe")
    if place == "straddles":
        reason = f"the loss ({figures.judged_interval(fit.loss)}) cannot be told from that of a uniform guess"
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
        return Pass("", error, "the recorded accuracy is not a share between 0 and 1 and was not compared")
    record = wilson(round((1 - recorded.value) * RECORDED_ON), RECORDED_ON)
    assert record.low is not None and record.high is not None, "Wilson's interval has ends"
    bound = record.high + MARGIN
    place = error.against(bound)
    if place == "above":
        source = (
            f"recorded error {figures.percent(record.value)}, upper end {figures.percent(record.high)}, plus 2 points"
        )
        return Fail("", error, "far-from-recorded", support, Limit(bound, "share", source))
    # The 2 points are a margin already: to pass, the interval that is shown is enough.
    if place == "straddles" and not (error.high is not None and error.high <= bound):
        return Undecided(
            "",
            error,
            f"the {figures.judged_interval(error)} of the error holds {figures.percent(bound)}, the most that the "
            f"recorded error of {figures.percent(record.value)} explains; use more than {count(error.n, 'sample')}",
        )
    if ends[1] < record.low - MARGIN:
        return Pass(
            "",
            error,
            f"far better than the recorded error of {figures.percent(record.value)}: "
            "perhaps data that the network was trained on",
        )
    return Pass("", error)


def tell(fails: Sequence[Fail], measurements: Measurements) -> tuple[str, str]:
    """Why, in the first sentence; then what follows from it."""
    (fail,) = fails
    if fail.cause == ALIKE:
        return (
            f"All samples are alike: the probe shows the network one input {measurements.probe.samples} times",
            "Read no other figure of this report before this is clear: ranks, dead features and conditioning of "
            "the network cannot be seen on one input. Usual causes: an array that was made but never filled, pixels "
            "divided twice, a normalisation that sends every image to one value, a folder of copies.",
        )
    fit, recorded = measurements.fit, measurements.checkpoint.recorded
    assert fit is not None and fit.error is not None, "a fail has an error"
    error = figures.figure(fit.error).value
    if fail.cause == "far-from-recorded" and recorded is not None:
        why = f"error {error} on this probe, the checkpoint records {figures.percent(1 - recorded.value)}"
    elif fail.cause == "worse-than-uniform":
        uniform = figures.number(math.log(choices(measurements)))
        why = f"loss {figures.figure(fail.measured).value} on this probe, a uniform guess has {uniform}"
    else:
        why = f"error {error} on this probe, a constant guess makes {figures.percent(fit.chance or math.nan)}"
    return (
        f"The probe does not fit the network: {why}",
        " ".join(
            (
                "Read no other figure of this report before this is clear: they describe the network on data, or with "
                f"a preprocessing, that it was not trained for. Usual causes: {_TEXT if fit.prediction else _PICTURES}",
                *witness(measurements),
            )
        ),
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
    metric="error on the probe",
    limit=LIMIT,
    check=check,
    tell=tell,
    fires=lambda: _recorded(0.918, wrong=190),
    quiet=lambda: _recorded(0.918, wrong=60),
    skips=lambda: specimen.measurements(fit=replace(specimen.fit(), error=None, loss=None, chance=None)),
    casts_doubt=True,
)
