"""``flyfs limit``: shows and sets what all flyfs processes of this host together may receive and send. Shell."""

import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from flyfs.config.host import LimitConfig, read_limit_config
from flyfs.control.mounts import flyfs_mountpoints
from flyfs.core.units import show_rate
from flyfs.limit.host_limit import limit_path
from flyfs.limit.limit_file import LimitFile, Rates


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Reads the configuration; raises ConfigError."""
    config = read_limit_config(arguments, os.environ, flyfs_mountpoints())
    return lambda: _limit(config)


def _limit(config: LimitConfig) -> int:
    file = LimitFile.open(limit_path(config.directories))
    try:
        if config.receive is not None or config.send is not None:
            file.set_rates(receive=config.receive, send=config.send)
        sys.stdout.write(describe(file.rates()))
        sys.stdout.flush()
    finally:
        file.close()
    return 0


def describe(rates: Rates) -> str:
    """For people: a line per direction, and who set it."""
    lines = [("receive", _shown(rates.receive)), ("send", _shown(rates.send))]
    if rates.changes:
        at = datetime.fromtimestamp(rates.changed_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(("set", f"{at} by process {rates.changed_by}"))
    return "".join(f"{name:<8}{text}\n" for name, text in lines)


def _shown(rate: int | None) -> str:
    return "off" if rate is None else show_rate(rate)
