"""``python -m supernode``: the same as ``flyfs-supernode``. Shell."""

import sys

from supernode.cli import main

if __name__ == "__main__":
    sys.exit(main())
