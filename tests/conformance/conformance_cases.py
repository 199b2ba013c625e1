"""Every layer kind × option: what is measured, and what is not."""

from tests.conformance.case_attention import attention
from tests.conformance.case_convolutions import convolutions, transposed
from tests.conformance.case_linear import embedding, linear
from tests.conformance.case_refused import REFUSED
from tests.conformance.case_wiring import wiring

CASES = (*linear(), *convolutions(), *transposed(), *embedding(), *attention(), *wiring())

__all__ = ["CASES", "REFUSED"]
