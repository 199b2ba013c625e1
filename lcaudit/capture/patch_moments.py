"""Σ x xᵀ over a convolution's patches without unfolding the image, exactly, for stride 1 in two dimensions.

Were every position counted at which the kernel touches the image, an entry of the patch moment would
depend only on the two channels and on the *lag* between the two taps:

    S[(c, t), (c', t')] = R[c, c', t' − t],      R[c, c', Δ] = Σ_u x_c(u) x_c'(u + Δ).

R is the images' cross-correlation: one product of channels by samples per frequency (Wiener–Khinchin). Sides are
short, so the discrete Fourier transform itself is two matrix products, which leave the numbers in the
order that the products per frequency want; long sides take the fast transform. Cross-spectra are summed
over some hundred samples in the inputs' precision and brought to the few lags wanted in float64.

The positions that the layer's padding leaves out form strips along the border, where most taps see
nothing. Where one tap of a row or column sees the image, the strip's moment is a correlation in one
dimension, less the corners counted twice; otherwise the strips are unfolded. The result equals unfolding
up to rounding, at about a twentieth of its multiplications.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

#: Numbers held at once by a strip's unfolding and by the transform of some samples.
_CHUNK = 4_194_304
#: Complex numbers that the cross-spectrum may hold where the moments themselves do not take as much.
MOST_SPECTRUM = 8_388_608
#: Longest side transformed by matrix products.
_DENSE_SIDE = 72
#: Rows of strips, and samples of the cross-spectrum, summed before float64 takes over.
_ROWS, _SAMPLES = 4096, 256


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


def _sizes(kernel: tuple[int, ...], dilation: tuple[int, ...], image: tuple[int, ...]) -> tuple[int, int]:
    """Sides of the transform: lags must not wrap around."""
    sides = [s + d * (k - 1) for s, k, d in zip(image[1:], kernel, dilation, strict=True)]
    height, width = sides if max(sides) <= _DENSE_SIDE else map(_fast_length, sides)
    return height, width


def spectrum_size(kernel: tuple[int, ...], dilation: tuple[int, ...], groups: int, image: tuple[int, ...]) -> int:
    """Complex numbers the cross-spectrum holds; see ``MOST_SPECTRUM``. ``image``: (channels, height, width)."""
    height, width = _sizes(kernel, dilation, image)
    return height * (width // 2 + 1) * image[0] ** 2 // groups


def operations(kernel: tuple[int, ...], dilation: tuple[int, ...], groups: int, image: tuple[int, ...]) -> int:
    """Floating-point operations per sample, borders left out."""
    height, width = _sizes(kernel, dilation, image)
    half = width // 2 + 1
    if max(height, width) <= _DENSE_SIDE:
        transform = 4 * half * image[1] * image[2] + 8 * half * height * image[1]
    else:  # counted as slower per operation, for the copy into the order of frequencies
        transform = int(20 * height * width * math.log2(height * width))
    return image[0] * transform + 6 * height * half * image[0] ** 2 // groups


class PatchMoments:
    """Accumulates one convolution's Σ x xᵀ for one group of samples at a time.

    Args:
        kernel, dilation, padding: (height, width); padding with zeros, the same on both sides, and
            smaller than the dilated kernel.
        groups: channel groups. image: (channels, height, width).
        dtype: of the inputs; narrower ones are widened to float32.

    Memory: the cross-spectrum (:func:`spectrum_size`) in ``dtype`` twice, and border rows of some samples.
    """

    def __init__(
        self, kernel: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int], groups: int,
        image: tuple[int, int, int], device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.kernel, self.dilation, self.padding, self.groups = kernel, dilation, padding, groups
        self.image, self.channels, self.device = image, image[0] // groups, device
        self.dtype = torch.float64 if dtype == torch.float64 else torch.float32
        self.double = torch.float32 if device.type == "mps" else torch.float64  # Apple's devices have no float64
        self.reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
        self.beyond = tuple(max(0, r - p) for r, p in zip(self.reach, padding, strict=True))
        # taps that see the image from beyond the padding
        self.seen = tuple(-(-far // d) for far, d in zip(self.beyond, dilation, strict=True))
        self.size = _sizes(kernel, dilation, image)
        self.half = self.size[1] // 2 + 1
        self._prepare()
        frequencies, c = self.half * self.size[0], self.channels
        made = {"dtype": self.dtype, "device": device}
        self.real, self.crossed = (torch.zeros(frequencies * groups, c, c, **made) for _ in range(2))
        self.samples = self.strip_samples = 0
        self.strips: list[tuple[torch.Tensor, ...]] = []
        self._start()

    def _prepare(self) -> None:
        """The transforms' matrices: to frequencies in two steps, and back to lags."""
        (n, m), (height, width) = self.size, self.image[1:]
        made = {"dtype": self.dtype, "device": self.device}
        if max(self.size) <= _DENSE_SIDE:
            real, imaginary = _waves(m, self.half, width)
            self.across = torch.stack([real, imaginary], 1).flatten(0, 1).to(**made)  # [(kx, part), w]
            real, imaginary = _waves(n, n, height)
            self.down = tuple(  # [(ky, part), h], applied to the real and to the imaginary part
                torch.stack(pair, 1).flatten(0, 1).to(**made) for pair in ((real, imaginary), (-imaginary, real))
            )
        (ky, kx), (dy, dx) = self.kernel, self.dilation
        lag_y, lag_x = torch.arange(ky).double() * dy, torch.arange(1 - kx, kx).double() * dx
        turns_y, turns_x = lag_y[:, None] * torch.arange(n) / n, lag_x[:, None] * torch.arange(self.half) / m
        angle = (turns_y[:, None, None] + turns_x[None, :, :, None]).flatten(2).flatten(0, 1) * (2 * math.pi)
        once = (torch.arange(self.half) * 2) % m == 0  # frequencies that are their own mirror image
        weight = torch.where(once, 1.0, 2.0).double().repeat_interleave(n) / (n * m)
        y, x = (torch.arange(k, device=self.device) for k in self.kernel)
        ends = ([k - 1, 0] for k in self.kernel)
        self.places = (  # of a pair of taps among the lags; the taps seen from before and from behind the image
            y - y[:, None] + ky - 1, x - x[:, None] + kx - 1, *(torch.tensor(end, device=self.device) for end in ends)
        )  # fmt: skip
        self.back = tuple((wave * weight).to(self.double).to(self.device) for wave in (angle.cos(), angle.sin()))

    def _start(self) -> None:
        (ky, kx), c = self.kernel, self.channels
        made = {"dtype": self.double, "device": self.device}
        self.lags = torch.zeros(ky, 2 * kx - 1, self.groups, c, c, **made)
        self.rows, self.columns = (torch.zeros(2, k, self.groups, c, c, **made) for k in (kx, ky))
        self.corners = torch.zeros(2, 2, self.groups, c, c, **made)
        self.squared = torch.zeros(self.image, **made)
        self.unfolded: torch.Tensor | None = None
        self.added = False

    def add(self, inputs: torch.Tensor) -> None:
        """Add images [b, channels, height, width]."""
        inputs = inputs.to(self.dtype)
        self.added = True
        self.squared += inputs.square().sum(0)
        for part in inputs.split(max(1, _CHUNK // (2 * self.half * self.size[0] * inputs.shape[1]))):
            if self.samples + len(part) > _SAMPLES:
                self._settle()
            self._add_spectrum(self._transformed(part), len(part))
        if any(self.beyond):
            self._add_strips(inputs)

    def _transformed(self, part: torch.Tensor) -> torch.Tensor:
        """[frequencies (kx, ky), 2 (real, imaginary), b, C]."""
        b, c, height, width = part.shape
        if max(self.size) > _DENSE_SIDE:
            found = torch.view_as_real(torch.fft.rfft2(part, s=self.size))  # [b, C, ky, kx, 2]
            return found.permute(3, 2, 4, 0, 1).flatten(0, 1).contiguous()
        rows = (self.across @ part.reshape(-1, width).T).view(self.half, 2, b * c, height)
        left, right = (matrix.expand(self.half, -1, -1) for matrix in self.down)
        found = torch.bmm(left, rows[:, 0].transpose(1, 2))
        found.baddbmm_(right, rows[:, 1].transpose(1, 2))
        return found.view(-1, 2, b, c)

    def _add_spectrum(self, found: torch.Tensor, samples: int) -> None:
        self.samples += samples
        both, real, imaginary = found.flatten(1, 2), found[:, 0], found[:, 1]
        if self.channels == 1:
            self.real += both.square().sum(1).view(-1, 1, 1)
            return
        if self.groups > 1:
            both, real, imaginary = (
                one.unflatten(2, (self.groups, -1)).transpose(1, 2).flatten(0, 1) for one in (both, real, imaginary)
            )
        self.real.baddbmm_(both.transpose(1, 2), both)
        self.crossed.baddbmm_(imaginary.transpose(1, 2), real)

    def _settle(self) -> None:
        """From cross-spectra to lags."""
        if not self.samples:
            return
        cosines, sines = self.back
        shape = (*self.lags.shape[:2], self.groups, self.channels, self.channels)
        lags = (cosines @ self.real.view(len(cosines[0]), -1).to(cosines)).view(shape)
        if self.channels > 1:
            odd = (sines @ self.crossed.view(len(sines[0]), -1).to(sines)).view(shape)
            lags += odd - odd.transpose(3, 4)
        self.lags += lags
        self.real.zero_()
        self.crossed.zero_()
        self.samples = 0

    def _add_strips(self, inputs: torch.Tensor) -> None:
        """Keep the border of some samples, to be summed together."""
        (far_y, far_x), (height, width) = self.beyond, inputs.shape[2:]
        if max(self.seen) > 1:
            self._unfold_strips(inputs)
            return
        rows = torch.stack((inputs[:, :, :far_y], inputs[:, :, height - far_y :]))  # [2, b, C, strip, width]
        columns = torch.stack((inputs[..., :far_x], inputs[..., width - far_x :]))
        self.strips.append((rows, columns))
        self.strip_samples += len(inputs)
        if self.strip_samples * max(height, width) * max(self.beyond) > _ROWS:
            self._settle_strips()

    def _settle_strips(self) -> None:
        """Correlations along the strips, and moments at their corners."""
        if not self.strips:
            return
        rows, columns = (torch.cat(pieces, 1) for pieces in zip(*self.strips, strict=True))
        rows, columns = rows.permute(0, 1, 3, 4, 2), columns.permute(0, 1, 4, 3, 2)  # [2, b, strip, along, C]
        for total, strip, step in ((self.rows, rows, self.dilation[1]), (self.columns, columns, self.dilation[0])):
            if strip.numel():
                lags = range(0, step * total.shape[1], step)
                # samples one after another, zeros between
                flat = F.pad(strip, (0, 0, 0, lags[-1])).flatten(1, 3)
                n = flat.shape[1]
                total += torch.stack([self._product(flat[:, : n - lag], flat[:, lag:]) for lag in lags], 1)
        if rows.numel() and columns.numel():
            far = self.beyond[1]
            ends = torch.stack((rows[:, :, :, :far], rows[:, :, :, rows.shape[3] - far :]), 1).flatten(0, 1)
            corners = ends.flatten(1, 3)
            self.corners += self._product(corners, corners).unflatten(0, (2, 2))
        self.strips, self.strip_samples = [], 0

    def _product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Σ left rightᵀ over rows [ends, n, C] → [ends, groups, c, c]."""
        if self.groups == 1:
            return torch.bmm(left.transpose(1, 2), right).unsqueeze(1)
        if self.channels == 1:
            return (left * right).sum(1).unflatten(1, (-1, 1, 1))
        one, other = (side.unflatten(2, (self.groups, -1)).transpose(1, 2) for side in (left, right))
        return one.transpose(2, 3) @ other

    def _unfold_strips(self, inputs: torch.Tensor) -> None:
        """Moments of the positions where the kernel touches the image but the padding does not let it.

        From beyond the padding only the taps on the far side see the image: the last ones from before the
        first row, the first ones from behind the last. Only those are unfolded.
        """
        (ky, kx), (dy, dx), (py, rx) = self.kernel, self.dilation, (self.padding[0], self.reach[1])
        (beyond_y, beyond_x), (seen_y, seen_x) = self.beyond, self.seen
        if beyond_y:  # rows above and below, corners included
            above, below = inputs[:, :, :beyond_y], inputs[:, :, -beyond_y:]
            inner = dy * (seen_y - 1)
            self._unfold_strip(above, (rx, rx, inner, 0), (seen_y, kx), (ky - seen_y, 0))
            self._unfold_strip(below, (rx, rx, 0, inner), (seen_y, kx), (0, 0))
        if beyond_x:  # columns left and right, between those rows
            left, right = inputs[:, :, :, :beyond_x], inputs[:, :, :, -beyond_x:]
            inner = dx * (seen_x - 1)
            self._unfold_strip(left, (inner, 0, py, py), (ky, seen_x), (0, kx - seen_x))
            self._unfold_strip(right, (0, inner, py, py), (ky, seen_x), (0, 0))

    def _unfold_strip(
        self, strip: torch.Tensor, padding: tuple[int, int, int, int], kernel: tuple[int, int], first: tuple[int, int]
    ) -> None:
        """Unfold ``strip`` with the taps ``first`` to ``first + kernel`` only, and add their moment."""
        ky, kx = self.kernel
        if self.unfolded is None:
            d = self.channels * ky * kx
            self.unfolded = torch.zeros(self.groups, d, d, dtype=self.double, device=self.device)
        rows, columns = (torch.arange(start, start + length) for start, length in zip(first, kernel, strict=True))
        entries = (torch.arange(self.channels)[:, None, None] * ky + rows[:, None]) * kx + columns
        entries = entries.flatten().to(strip.device)
        held = strip[0].numel() * kernel[0] * kernel[1] * max(self.kernel)
        for part in strip.split(max(1, _CHUNK // held)):
            patches = F.unfold(F.pad(part, padding), kernel, self.dilation)
            patches = patches.unflatten(1, (self.groups, -1)).permute(1, 2, 0, 3).flatten(2)
            moment = torch.bmm(patches, patches.transpose(1, 2)).to(self.unfolded)
            self.unfolded[:, entries[:, None], entries[None, :]] += moment

    def _energies(self) -> torch.Tensor:
        """Σ x² over what each tap sees of each channel, [C, taps]."""
        (py, px), (dy, dx) = self.padding, self.dilation
        padded = F.pad(self.squared, (px, px, py, py))
        height, width = padded.shape[1] - self.reach[0], padded.shape[2] - self.reach[1]
        across = torch.stack([padded[:, :, x * dx : x * dx + width].sum(2) for x in range(self.kernel[1])], 1)
        down = [across[:, :, y * dy : y * dy + height].sum(2) for y in range(self.kernel[0])]
        return torch.stack(down, 1).flatten(1)

    def take(self, into: torch.Tensor) -> torch.Tensor:
        """Add the sum so far to ``into``, float64 [groups, d, d]; starts again from zero.

        Returns:
            Σ x² over every element of each channel, float64 [channels].
        """
        self._settle()
        self._settle_strips()
        # lags with a negative y are the others', transposed
        lags = torch.cat([self.lags[1:].flip(0, 1).transpose(3, 4), self.lags])
        lag_y, lag_x, last_y, last_x = self.places
        pairs = lags[lag_y[:, None, :, None], lag_x[None, :, None, :]]  # [ty, tx, ty', tx', K, c, c']
        blocks = pairs.transpose(1, 2)
        if max(self.seen) <= 1:
            # from before the first row only the last tap sees anything, from behind the last one the first
            if self.beyond[0]:
                rows = torch.cat([self.rows[:, 1:].flip(1).transpose(3, 4), self.rows], 1)
                blocks[last_y, last_y] -= rows[:, lag_x]
            if self.beyond[1]:
                columns = torch.cat([self.columns[:, 1:].flip(1).transpose(3, 4), self.columns], 1)
                blocks[:, :, last_x, last_x] -= columns[:, lag_y].movedim(0, 2)
            if all(self.beyond):
                blocks[last_y[:, None], last_y[:, None], last_x, last_x] += self.corners
        # sums of squares hold no difference: an entry that never sees anything but zeros stays exactly zero
        energies = self._energies().view(self.groups, self.channels, *self.kernel)
        own = blocks.diagonal(dim1=0, dim2=1).diagonal(dim1=0, dim2=1).diagonal(dim1=1, dim2=2)  # [K, ty, tx, c]
        own.copy_(energies.movedim(1, 3))
        seen = energies > 0
        if self.unfolded is not None or self.device.type != "cpu" or not bool(seen.all()):  # rarely, on the CPU
            moment = pairs.permute(4, 5, 0, 1, 6, 2, 3).reshape(into.shape)
            if self.unfolded is not None:
                moment -= self.unfolded
                moment.diagonal(dim1=1, dim2=2).copy_(energies.flatten(1))
            live = seen.flatten(1).to(moment)
            moment *= live[:, :, None] * live[:, None, :]
            into.add_(moment.to(into.device))
        else:
            # one tap after the other: all at once would hop through memory
            taps = pairs.flatten(0, 1).flatten(1, 2).movedim(1, -1)  # [t, K, c, c', t']
            for tap, more in zip(into.view(*taps.shape[1:3], len(taps), *taps.shape[3:]).unbind(2), taps, strict=True):
                tap += more
        squares = self.squared.flatten(1).sum(1).to(into)
        self._start()
        return squares


def _waves(length: int, frequencies: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary part of exp(−2πi k u / length), float64 [frequencies, side]."""
    angle = (torch.arange(frequencies)[:, None] * torch.arange(side) % length).double() * (2 * math.pi / length)
    return angle.cos(), -angle.sin()
