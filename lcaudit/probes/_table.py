"""Images or texts, and labels, of Parquet files; read in small steps, since a file of kilobytes can hold gigabytes.

A column of images holds encoded files: bytes, or the Hub's record ``{bytes, path}``. Only it, or the column of text,
and the column of labels are read, and no type of the file's own is ever built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lcaudit.core.errors import (
    AuditError,
    EnvironmentFailure,
    LimitExceeded,
    MalformedInput,
    ProbeUnavailable,
)
from lcaudit.core.text import display_name
from lcaudit.core.types import Shaping
from lcaudit.probes._arrays import agreed_split, split_notes
from lcaudit.probes._columns import Columns, find_columns
from lcaudit.probes._contract import Pixels, Samples
from lcaudit.probes._files import MOST_BYTES, open_regular
from lcaudit.probes._pictures import MOST_FILE, decoded, pillow

_MOST_ROWS = 5_000_000
_MOST_RATIO = 200
_ALWAYS_ALLOWED = 64 * 2**20
#: Rows that are held at once; each may be as large as ``MOST_FILE`` by reference to one value.
_STEP = 16


def pyarrow() -> Any:
    """The ``pyarrow.parquet`` module.

    Raises:
        EnvironmentFailure: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise EnvironmentFailure(
            "Parquet files need pyarrow, which is not installed", "type: pip install 'lcaudit[data]'"
        ) from None
    return pyarrow.parquet


def open_tables(
    paths: Sequence[Path], source: str, said: str, asked: str | None, columns: Mapping[str, str]
) -> Samples:
    """Samples of one table that lies in one or several files, in this order.

    Args:
        source: what to call it. said: its split. asked: ``--split``.
        columns: the user's choice, by use.

    Raises:
        ProbeUnavailable: which columns are meant is not clear, or they hold something else.
        MalformedInput: damaged. LimitExceeded: beyond a cap. EnvironmentFailure: pyarrow or Pillow is missing.
    """
    pyarrow()
    shown = display_name(source)
    chosen: Columns | None = None
    counts, labels = [], []
    digest = hashlib.sha256()
    for path in paths:
        with _reading(path, shown) as file:
            found = find_columns(file, columns, shown)
            if chosen not in (None, found):
                raise MalformedInput(f"{shown}: its files do not have the same columns", "download them again")
            chosen = found
            if not chosen.text:
                pillow()
            counts.append(file.metadata.num_rows)
            if sum(counts) > _MOST_ROWS:
                raise LimitExceeded(f"{shown}: more than {_MOST_ROWS:,} rows", "pass a smaller split")
            rows = 0
            for content in _cells(file, chosen.cells, path, shown):
                digest.update(b"%d\n" % len(content))
                digest.update(content)
                rows += 1
            if rows != counts[-1]:
                raise MalformedInput(f"{shown}: {counts[-1]:,} rows announced, {rows:,} found", "download it again")
            if chosen.label:
                labels.append(_labels(file, chosen.label, shown))
    assert chosen is not None, "a table of no files"
    given = np.concatenate(labels) if labels else None
    kind = "text" if chosen.text else "images"
    notes = (f"{kind} from column {display_name(chosen.cells.removesuffix('.bytes'), 60)}",)
    if given is not None and len(given) and (given == -1).all():
        given, notes = (
            None,
            (*notes, f"every label in column {display_name(chosen.label, 60)} is -1: taken as unlabelled"),
        )
    elif given is not None:
        notes = (f"{notes[0]}, labels from {display_name(chosen.label, 60)}",)
    else:
        notes = (*notes, "no column of labels")
    digest.update(b"unlabelled" if given is None else given.astype(given.dtype.newbyteorder("<")).tobytes())

    def pixels(positions: np.ndarray, wanted: tuple[int, ...], shaping: Shaping | None) -> Pixels:
        held = _chosen(paths, counts, chosen.cells, positions, shown)
        return decoded(held.__getitem__, lambda position: f"row {position}", source, positions, wanted, shaping)

    def texts(positions: np.ndarray) -> list[str]:
        held = _chosen(paths, counts, chosen.cells, positions, shown)
        return [_text(held[position], f"row {position} of {shown}") for position in positions.tolist()]

    return Samples(
        source=source,
        count=sum(counts),
        labels=given,
        classes=chosen.classes if given is not None else (),
        split=agreed_split(said, asked, source),
        sha256=digest.hexdigest(),
        shape=(),
        pixels=lambda positions, wanted: pixels(positions, wanted, None),
        pictures=None if chosen.text else pixels,
        notes=(*split_notes(said, asked), *notes),
        texts=texts if chosen.text else None,
    )


def _text(content: bytes, shown: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedInput(f"{shown} is no UTF-8", "write the table again") from None


@contextmanager
def _reading(path: Path, shown: str) -> Iterator[Any]:
    """The open Parquet file; whatever its reader raises inside is the file's fault."""
    with open_regular(path) as stream:
        try:
            yield pyarrow().ParquetFile(stream, pre_buffer=False)
        except (AuditError, MemoryError):
            raise
        except Exception as error:  # the reader raises what it likes on damaged files
            raise MalformedInput(
                f"{shown}: the Parquet file is damaged ({type(error).__name__})", "download or write it again"
            ) from None


def _cells(file: Any, column: str, path: Path, shown: str) -> Iterator[bytes]:
    """The bytes of every row; empty where there are none."""
    most = max(_ALWAYS_ALLOWED, _MOST_RATIO * path.stat().st_size)
    total = 0
    for batch in file.iter_batches(batch_size=_STEP, columns=[column], use_threads=False):
        cells = batch.column(0)
        if column.endswith(".bytes") and hasattr(cells, "field"):
            cells = cells.field("bytes")
        for cell in cells:
            content = cell.as_buffer()
            length = 0 if content is None else content.size
            total += length
            if length > MOST_FILE or total > most:
                raise LimitExceeded(
                    f"{shown}: a cell of more than {MOST_FILE >> 20} MiB"
                    if length > MOST_FILE
                    else f"{shown}: swells from {path.stat().st_size:,} to more than {most:,} bytes",
                    "pass data that do not",
                )
            yield b"" if content is None else content.to_pybytes()


def _labels(file: Any, column: str, shown: str) -> np.ndarray:
    """int64, or float64 where the column holds floats."""
    cells = file.read(columns=[column], use_threads=False).column(0)
    if cells.null_count:
        raise ProbeUnavailable(
            f"{shown}: {cells.null_count:,} rows have no {display_name(column, 60)}",
            "name another column with --columns label=…, or remove these rows",
        )
    values = cells.to_numpy()
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise ProbeUnavailable(f"{shown}: label {values.max()} is no class number", "save class numbers from 0")
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64)


def _chosen(
    paths: Sequence[Path], counts: Sequence[int], column: str, positions: np.ndarray, shown: str
) -> dict[int, bytes]:
    """The bytes of the chosen rows, by position in the whole table."""
    wanted = set(positions.tolist())
    held: dict[int, bytes] = {}
    size = start = 0
    for path, number in zip(paths, counts, strict=True):
        if any(start <= position < start + number for position in wanted):
            with _reading(path, shown) as file:
                for position, content in enumerate(_cells(file, column, path, shown), start):
                    if position in wanted:
                        held[position] = content
                        size += len(content)
                        if size > MOST_BYTES:
                            raise LimitExceeded(
                                f"{shown}: the chosen rows take more than {MOST_BYTES:,} bytes",
                                "pass fewer --samples",
                            )
        start += number
    if len(held) != len(wanted):
        raise MalformedInput(f"{shown}: changed while it was read", "run again")
    return held
