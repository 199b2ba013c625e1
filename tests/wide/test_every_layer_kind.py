"""Every layer kind in every form: kept rows give the usual eigenvalues, sketches hold them between their bounds."""

import copy
import warnings

import numpy as np
import pytest
import torch

from lcaudit.core.types import KeptRows, Sketch
from lcaudit.spectra.closed_form import closed_form_bounds
from lcaudit.spectra.dual import DualMoment
from lcaudit.spectra.second_moment import GroupedMoments
from lcaudit.spectra.sketch import sketch_bounds
from tests.conformance.conformance_cases import CASES
from tests.wide.test_sketch import inside
from tests.wide.wide_cases import descending, moments


def measured(case, form):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same'")  # torch speaks of its own copy
        warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")
        torch.manual_seed(11)
        inputs = case.inputs()
        model = case.build(case.biases[0]).eval()
        mask = case.mask(inputs) if case.mask else None
        return moments(copy.deepcopy(model).double(), inputs, form, 12, mask=mask, batch_size=5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_form_of_every_kind(case):
    usual, rows, sketched = (measured(case, form) for form in ("", "rows", "sketch"))
    for sums, kept, sketch in zip(usual.layers, rows.layers, sketched.layers, strict=True):
        want, n = GroupedMoments(sums.inputs).whole(), int(sums.samples.sum())
        for one in (kept, sketch):
            got = GroupedMoments(one.inputs).whole()
            assert got.rows == want.rows
            for change in ("input", "centring", "batch_norm"):
                np.testing.assert_allclose(got.diagonal(change), want.diagonal(change), rtol=1e-9, atol=1e-11)
        matrix = descending(want.uncentred())
        if isinstance(kept.inputs.second, KeptRows):
            found = DualMoment(kept.inputs.second, got.rows, got, False).whole().eigenvalues()
            np.testing.assert_allclose(np.sort(found.ravel())[::-1], matrix, rtol=1e-9, atol=1e-10 * matrix[0])
            assert isinstance(sketch.inputs.second, Sketch)
            assert inside(sketch_bounds(sketch.inputs.second, got.rows, limit=sketch.inputs.second.rows), matrix, 1e-7)
        else:
            assert case.kind == "embedding" or sums.layer.kind == "embedding", "no other kind keeps sums always"
        gradient = descending(sums.gradient.sum(0).numpy() / n)
        if kept.gradient.subtracted:
            assert inside(closed_form_bounds(kept.gradient, n), gradient, 1e-7)
        else:
            found = DualMoment(kept.gradient, n, None, False).whole().eigenvalues()
            np.testing.assert_allclose(np.sort(found.ravel())[::-1], gradient, rtol=1e-9, atol=1e-10 * gradient[0])
        assert inside(sketch_bounds(sketch.gradient, n), gradient, 1e-7)
