"""An ``.npy`` file: one array of images, samples first, without labels."""

from __future__ import annotations

import os
from pathlib import Path

from lcaudit.probes._arrays import samples
from lcaudit.probes._contract import Samples, Source
from lcaudit.probes._files import named_split, open_regular
from lcaudit.probes._npy import MAGIC, read


def open_npy(path: Path, split: str | None) -> Samples:
    """Samples of an ``.npy`` file. Raises as :func:`lcaudit.probes._npy.read` does."""
    with open_regular(path) as stream:
        images = read(stream, os.fstat(stream.fileno()).st_size, path.name)
    return samples(images, None, path, named_split(path.name), split)


SOURCE = Source(
    title="an .npy file of images, without labels",
    accepts=lambda path, start: start.startswith(MAGIC),
    open=open_npy,
)
