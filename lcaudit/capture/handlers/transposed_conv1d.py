"""``torch.nn.ConvTranspose1d`` and ``F.conv_transpose1d``: a row is one position of the input."""

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._transposed import handler

HANDLER = handler(F.conv_transpose1d, torch.nn.ConvTranspose1d, 1)
