"""``python -m lcaudit``."""

import sys

from lcaudit.cli import main

if __name__ == "__main__":
    sys.exit(main())
