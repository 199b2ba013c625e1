"""``torch.nn.ConvTranspose3d`` and ``F.conv_transpose3d``: a row is one position of the input."""

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._transposed import handler

HANDLER = handler(F.conv_transpose3d, torch.nn.ConvTranspose3d, 3)
