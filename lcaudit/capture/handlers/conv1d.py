"""``torch.nn.Conv1d`` and ``F.conv1d``: any kernel, stride, dilation, padding mode and number of groups."""

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._convolution import handler

HANDLER = handler(F.conv1d, torch.nn.Conv1d, 1)
