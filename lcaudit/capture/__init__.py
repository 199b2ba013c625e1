"""The measuring stage: one forward and backward run over the probe, moments of every layer."""

from lcaudit.capture.channel_statistics import channel_statistics, running_statistics, stored_statistics
from lcaudit.capture.evaluate import evaluate, part_of
from lcaudit.capture.exact import check, cross_check
from lcaudit.capture.links import links
from lcaudit.capture.run import measure
from lcaudit.capture.tasks import Fisher, fisher_of

__all__ = [
    "Fisher",
    "channel_statistics",
    "check",
    "cross_check",
    "evaluate",
    "fisher_of",
    "links",
    "measure",
    "part_of",
    "running_statistics",
    "stored_statistics",
]
