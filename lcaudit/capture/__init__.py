"""The measuring stage: one forward and backward run over the probe, moments of every layer."""

from lcaudit.capture._back_off import first_batch_size
from lcaudit.capture.exact import check, cross_check
from lcaudit.capture.identification import identify
from lcaudit.capture.plan import CALIBRATION, plan_run
from lcaudit.capture.run import measure
from lcaudit.capture.tasks import Fisher, fisher_of

__all__ = [
    "CALIBRATION",
    "Fisher",
    "check",
    "cross_check",
    "first_batch_size",
    "fisher_of",
    "identify",
    "measure",
    "plan_run",
]
