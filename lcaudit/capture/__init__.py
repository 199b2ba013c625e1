"""The measuring stage: one forward and backward run over the probe, moments of every layer."""

from lcaudit.capture._back_off import first_batch_size
from lcaudit.capture.channel_statistics import channel_statistics, running_statistics, stored_statistics
from lcaudit.capture.evaluate import evaluate, part_of
from lcaudit.capture.exact import check, cross_check
from lcaudit.capture.identification import identify
from lcaudit.capture.links import links
from lcaudit.capture.plan import CALIBRATION, plan_run
from lcaudit.capture.run import measure
from lcaudit.capture.tasks import Fisher, fisher_of

__all__ = [
    "CALIBRATION",
    "Fisher",
    "channel_statistics",
    "check",
    "cross_check",
    "evaluate",
    "first_batch_size",
    "fisher_of",
    "identify",
    "links",
    "measure",
    "part_of",
    "plan_run",
    "running_statistics",
    "stored_statistics",
]
