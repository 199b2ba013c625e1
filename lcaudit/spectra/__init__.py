"""From moments to eigenvalues, condition numbers, intervals and what-ifs."""

from lcaudit.spectra.analyse import analyse

__all__ = ["analyse"]
