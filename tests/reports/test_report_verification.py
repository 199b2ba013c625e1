"""The block on fixes that were measured again, in every format."""

from __future__ import annotations

import dataclasses

import pytest
import report_specimens as specimens
from test_report_hostile_text import HOSTILE, _everywhere
from test_report_page import Page

from lcaudit.core.outcomes import Report
from lcaudit.core.quantity import wilson
from lcaudit.core.verification import AppliedFix, RefusedFix, Verification, Verified
from lcaudit.reports import read, render

ERROR, LESS = wilson(30, 200), wilson(20, 200)
FOUND = Verification(
    source="model.pt",
    source_sha256="0" * 64,
    samples=200,
    held_out=200,
    applied=(
        AppliedFix("batch-norm-before", ("head",), "LC301:head", "safe", "BatchNorm put before 1 layer", 2e-7, 3e-7),
        AppliedFix("recalibrate-batch-norm", (), "", "unsafe", "statistics gathered", 0.2, 0.3, ERROR, LESS),
    ),
    refused=(RefusedFix("prune-dead-features", ("body",), "LC303:dead-features", "it would change outputs by 0.1"),),
    figures=(
        Verified("head", "head.1", "κ_80 of Σ_x", 3722.9, 361.29, 361.29),
        Verified("head", "head.1", "λmax of Σ_x ⊗ Σ_g", 0.1, None, 0.4),
    ),
    logits_probe=0.2,
    logits_held_out=0.3,
    tolerance=1e-4,
    gradient_change=1.3e-7,
    error_probe_before=ERROR,
    error_probe_after=LESS,
    error_held_out_before=ERROR,
    error_held_out_after=LESS,
    loss_probe_before=None,
    loss_probe_after=None,
    loss_held_out_before=None,
    loss_held_out_after=None,
    gone=("LC301:head",),
    left=("LC303:dead-features",),
)


def with_fixes(**changes) -> Report:
    return dataclasses.replace(specimens.report(), verification=dataclasses.replace(FOUND, **changes))


SAYINGS = (
    "2 fixes applied to model.pt, 1 not; 200 samples measured and chose, 200 held-out samples judged.",
    "BatchNorm put before 1 layer; outputs change by 2.00e-7, 3.00e-7 held out; for LC301:head",
    "held-out error 15.0 % → 10.0 %",
    "body: it would change outputs by 0.1",
    "largest change 0.200 of their scale on the probe, 0.300 on held-out samples",
)


def test_text_says_what_was_done_and_what_came_of_it() -> None:
    text = " ".join(render(with_fixes(), "text", width=120).split())
    for saying in SAYINGS:
        assert saying in text, saying
    assert "3722.9 361.29 361.29 ÷ 10.3" in text and "not predicted" in text and "× 4" in text


def test_page_says_the_same() -> None:
    page = Page(render(with_fixes(), "html"))
    text = " ".join(" ".join(page.words).split())
    assert "Fixes, measured again" in text and "361.29" in text and "not predicted" in text


def test_json_reads_back_and_old_reports_have_none() -> None:
    report = with_fixes()
    assert read(render(report, "json")) == report
    assert specimens.report().verification is None
    assert "Fixes, measured again" not in render(specimens.report(), "html")


def test_nothing_applied_says_only_why() -> None:
    report = with_fixes(applied=(), figures=(), gradient_change=None, held_out=0)
    text = " ".join(render(report, "text", width=120).split())
    assert "0 fixes applied to model.pt, 1 not; 200 samples measured and chose, none held out." in text
    assert "largest change" not in text


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_stays_text(kind: str) -> None:
    report = dataclasses.replace(with_fixes(), verification=_everywhere(FOUND, HOSTILE[kind], Verification))
    text = render(report, "text")
    assert "\x1b" not in text and "\n::error" not in text and "##[" not in text and len(text) < 100_000
    page = render(report, "html")
    assert "<img" not in page and "</script>" not in page and "\x1b" not in page
