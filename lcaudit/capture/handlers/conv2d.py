"""``torch.nn.Conv2d`` and ``F.conv2d``: any kernel, stride, dilation, padding mode and number of groups."""

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._convolution import handler

HANDLER = handler(F.conv2d, torch.nn.Conv2d, 2)
