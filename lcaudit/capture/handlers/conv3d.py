"""``torch.nn.Conv3d`` and ``F.conv3d``: any kernel, stride, dilation, padding mode and number of groups."""

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._convolution import handler

HANDLER = handler(F.conv3d, torch.nn.Conv3d, 3)
