"""A ``.parquet`` file with a column of encoded images or of text, and one of class numbers if there are labels.

Columns are found by type: the Hub's image and class features where the file records them, else records with
``bytes``, or bytes; else the only column of text, or the one named ``text``; whole numbers for labels. ``--columns
image=…,label=…`` or ``text=…`` chooses where several could be meant.
Images are decoded with Pillow under the same limits as those of a folder; the content hash covers their encoded bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lcaudit.probes._contract import Samples, Source
from lcaudit.probes._files import named_split
from lcaudit.probes._table import open_tables


def open_parquet(path: Path, split: str | None, columns: Mapping[str, str]) -> Samples:
    """Samples of one Parquet file. Raises as :func:`lcaudit.probes._table.open_tables` does."""
    return open_tables([path], path.name, named_split(path.name), split, columns)


SOURCE = Source(
    title="a .parquet file of images or text",
    accepts=lambda path, start: start.startswith(b"PAR1"),
    open=lambda path, split: open_parquet(path, split, {}),
    open_columns=open_parquet,
)
