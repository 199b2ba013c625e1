"""docs/layer-kinds.md says what the suite says."""

import torch

from tests.conformance.conformance_cases import CASES, REFUSED
from tests.conformance.layer_kinds_page import INTRODUCTION, PAGE, ROWS, decade, refused_rows, tables

RUN = "run python -m tests.conformance.layer_kinds_page"


def written():
    return tables(PAGE.read_text(encoding="utf-8"))


def test_every_row_of_the_suite_is_on_the_page():
    rows = [(row[0], row[1], row[3], row[6]) for row in written()[0]]
    against = {True: "autograd, curvlinops", False: "autograd"}
    assert rows == [(case.kind, case.option, "audited", against[case.curvlinops]) for case in CASES], RUN
    assert written()[1] == refused_rows(), RUN
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(INTRODUCTION) and text.endswith(ROWS), RUN
    assert len(REFUSED) == len(set(map(str, REFUSED))) and len(CASES) == len(set(map(str, CASES)))


def test_errors_on_the_page_are_within_the_promise():
    for row in written()[0]:
        for written_error, limit in ((row[4], 1e-6), (row[5], 1e-4)):
            assert float(written_error) <= limit and decade(float(written_error)) == written_error, row


def test_decades_round_up():
    assert [decade(error) for error in (0.0, 3e-17, 1e-9, 1.1e-9)] == ["1e-15", "1e-15", "1e-9", "1e-8"]
    assert torch.finfo(torch.float64).eps < 1e-15
