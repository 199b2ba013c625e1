"""``torch.nn.ConvTranspose2d`` and ``F.conv_transpose2d``: a row is one position of the input."""

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers._transposed import handler

HANDLER = handler(F.conv_transpose2d, torch.nn.ConvTranspose2d, 2)
