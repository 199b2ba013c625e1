"""The measuring stage: one forward and backward run over the probe, moments of every layer."""

from lcaudit.capture.exact import check, cross_check
from lcaudit.capture.identification import identify
from lcaudit.capture.run import measure
from lcaudit.capture.tasks import Fisher, fisher_of

__all__ = ["Fisher", "check", "cross_check", "fisher_of", "identify", "measure"]
