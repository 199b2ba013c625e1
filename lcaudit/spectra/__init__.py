"""From moments to eigenvalues, condition numbers, intervals and what-ifs."""

from lcaudit.spectra.analyse import analyse, analyse_together, by_input
from lcaudit.spectra.early import Early

__all__ = ["Early", "analyse", "analyse_together", "by_input"]
