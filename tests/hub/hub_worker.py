"""Command lines from standard input, one JSON list each; what each gave on standard output, as JSON.

HF_ENDPOINT and its like are read when huggingface_hub is first imported, so each environment has a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys


def main() -> None:
    from lcaudit.cli import main as command

    answers = sys.stdout
    for line in sys.stdin:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = command(json.loads(line))
        texts = []
        for stream in (out, err):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode("utf-8"))
        print(json.dumps([code, *texts]), file=answers, flush=True)


if __name__ == "__main__":
    main()
