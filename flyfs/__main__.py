"""``python -m flyfs``: the same as ``flyfs``. Shell."""

import sys

from flyfs.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
