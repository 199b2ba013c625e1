"""Σ x xᵀ over a convolution's patches without unfolding the image, exactly, for stride 1.

Were every position counted at which the kernel touches the image, an entry of the patch moment would
depend only on the two channels and on the *lag* between the two taps:

    S[(c, t), (c', t')] = R[c, c', t' − t],      R[c, c', Δ] = Σ_u x_c(u) x_c'(u + Δ).

R is the images' cross-correlation: one batched product per frequency (Wiener–Khinchin), accumulated over
images in the frequency domain and brought to the few lags wanted once per group of samples. The
positions that the layer's padding leaves out form strips along the border; there most taps see nothing,
so their moments are cheap to unfold and are subtracted. The result equals unfolding up to rounding, at
about a twentieth of its multiplications.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

#: Numbers held at once by a strip's unfolding and by a batch's spectrum.
_CHUNK = 4_194_304
#: Complex numbers that the accumulated cross-spectrum may hold (64 MiB in double precision).
MOST_SPECTRUM = 4_194_304


def _fast_length(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


class PatchMoments:
    """Accumulates one convolution's Σ x xᵀ for one group of samples at a time.

    Args:
        kernel, dilation, padding: (height, width); padding with zeros, the same on both sides, and
            smaller than the dilated kernel.
        groups: channel groups. image: (channels, height, width).
    """

    def __init__(
        self, kernel: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int], groups: int,
        image: tuple[int, int, int], device: torch.device,
    ) -> None:  # fmt: skip
        self.kernel, self.dilation, self.padding, self.groups = kernel, dilation, padding, groups
        self.channels = image[0] // groups
        self.reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
        self.size = tuple(_fast_length(side + reach) for side, reach in zip(image[1:], self.reach, strict=True))
        frequencies = self.size[0] * (self.size[1] // 2 + 1)
        c, d = self.channels, self.channels * kernel[0] * kernel[1]
        self.spectrum = torch.zeros(groups, frequencies, c, c, dtype=torch.complex128, device=device)
        self.strips = torch.zeros(groups, d, d, dtype=torch.float64, device=device)

    @staticmethod
    def spectrum_size(kernel: tuple[int, int], dilation: tuple[int, int], groups: int, image: tuple[int, ...]) -> int:
        """Complex numbers the accumulated cross-spectrum will hold; see ``MOST_SPECTRUM``."""
        height, width = (_fast_length(s + d * (k - 1)) for s, k, d in zip(image[1:], kernel, dilation, strict=True))
        return groups * height * (width // 2 + 1) * (image[0] // groups) ** 2

    def add(self, inputs: torch.Tensor) -> None:
        """Add images [b, channels, height, width]."""
        per_image = inputs.shape[1] * self.size[0] * (self.size[1] // 2 + 1)
        for part in inputs.split(max(1, _CHUNK // per_image)):
            transformed = torch.fft.rfft2(part, s=self.size).flatten(2)  # [b, C, frequencies]
            columns = transformed.unflatten(1, (self.groups, -1)).permute(1, 3, 2, 0).contiguous()  # [K, f, c, b]
            self.spectrum += columns.conj() @ columns.transpose(2, 3)
        self._add_strips(inputs)

    def _add_strips(self, inputs: torch.Tensor) -> None:
        """Moments of the positions where the kernel touches the image but the padding does not let it.

        From beyond the padding only the taps on the far side see the image: the last ones from before the
        first row, the first ones from behind the last. Only those are unfolded.
        """
        (ky, kx), (dy, dx), (ry, rx), (py, px) = self.kernel, self.dilation, self.reach, self.padding
        beyond_y, beyond_x = max(0, ry - py), max(0, rx - px)
        seen_y, seen_x = -(-beyond_y // dy), -(-beyond_x // dx)  # taps that see the image from there
        if beyond_y:  # rows above and below, corners included
            above, below = inputs[:, :, :beyond_y], inputs[:, :, -beyond_y:]
            inner = dy * (seen_y - 1)
            self._add_strip(above, (rx, rx, inner, 0), (seen_y, kx), (ky - seen_y, 0))
            self._add_strip(below, (rx, rx, 0, inner), (seen_y, kx), (0, 0))
        if beyond_x:  # columns left and right, between those rows
            left, right = inputs[:, :, :, :beyond_x], inputs[:, :, :, -beyond_x:]
            inner = dx * (seen_x - 1)
            self._add_strip(left, (inner, 0, py, py), (ky, seen_x), (0, kx - seen_x))
            self._add_strip(right, (0, inner, py, py), (ky, seen_x), (0, 0))

    def _add_strip(
        self, strip: torch.Tensor, padding: tuple[int, int, int, int], kernel: tuple[int, int], first: tuple[int, int]
    ) -> None:
        """Unfold ``strip`` with the taps ``first`` to ``first + kernel`` only, and add their moment."""
        ky, kx = self.kernel
        rows, columns = (torch.arange(start, start + length) for start, length in zip(first, kernel, strict=True))
        entries = (torch.arange(self.channels)[:, None, None] * ky + rows[:, None]) * kx + columns
        entries = entries.flatten().to(strip.device)
        held = strip[0].numel() * kernel[0] * kernel[1] * max(self.kernel)
        for part in strip.split(max(1, _CHUNK // held)):
            patches = F.unfold(F.pad(part, padding), kernel, self.dilation)
            patches = patches.unflatten(1, (self.groups, -1)).permute(1, 2, 0, 3).flatten(2)
            moment = torch.bmm(patches, patches.transpose(1, 2)).to(self.strips)
            self.strips[:, entries[:, None], entries[None, :]] += moment

    def take(self) -> torch.Tensor:
        """The sum so far, float64 [groups, d, d]; starts again from zero."""
        shape = (self.groups, self.size[0], self.size[1] // 2 + 1, self.channels, self.channels)
        correlation = torch.fft.irfft2(self.spectrum.view(shape), s=self.size, dim=(1, 2))
        lag_y, lag_x = (
            (torch.arange(k)[None, :] - torch.arange(k)[:, None]) * d % size
            for k, d, size in zip(self.kernel, self.dilation, self.size, strict=True)
        )
        # [K, ty, ty', tx, tx', c, c'] → rows (c, ty, tx), columns (c', ty', tx')
        lagged = correlation[:, lag_y[:, :, None, None], lag_x[None, None, :, :]]
        moment = lagged.permute(0, 5, 1, 3, 6, 2, 4).reshape(self.strips.shape) - self.strips
        self.spectrum.zero_()
        self.strips.zero_()
        return (moment + moment.transpose(1, 2)) / 2
