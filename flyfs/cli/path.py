"""``flyfs path URL``: where a URL is seen below a mountpoint. Shell: prints."""

import os
import sys
from collections.abc import Callable, Sequence

from flyfs.config.url import read_path_config
from flyfs.control.seen_path import seen_path


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Reads the arguments; raises ConfigError."""
    url = read_path_config(arguments, os.environ)

    def run() -> int:
        sys.stdout.buffer.write(os.fsencode(seen_path(url)) + b"\n")  # bytes: a name need not be UTF-8
        sys.stdout.flush()
        return 0

    return run
