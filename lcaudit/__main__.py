"""``python -m lcaudit``, and what the command ``lcaudit`` calls."""

import sys

from lcaudit.core import interrupts


def main() -> int:
    """Import and run the command line; interrupting it ends in one line from the beginning to the very end."""
    interrupts.install(interrupts.end_at_once)
    from lcaudit.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
