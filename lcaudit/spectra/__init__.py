"""From moments to eigenvalues, condition numbers, intervals and what-ifs."""

from lcaudit.spectra.analyse import analyse, analyse_together, by_input

__all__ = ["analyse", "analyse_together", "by_input"]
