"""The measuring stage: one forward and backward run over the probe, moments of every layer."""

from lcaudit.capture.exact import check, cross_check
from lcaudit.capture.run import measure

__all__ = ["check", "cross_check", "measure"]
