"""Where log lines go and what never stands in them. Shell: configures logging for the whole process.

Lines are for people on a terminal and JSON elsewhere. A log file is written by a thread of its own, because a slow disk must
not stop the loop: lines that it cannot keep up with are counted and left out. URLs lose their query and their userinfo,
which may hold credentials, wherever they stand: in fields, messages of libraries, tracebacks.
"""

import logging
import os
import queue
import re
import sys
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import IO, Any

import structlog

_FILE_BYTES = 10 * 1024 * 1024
_OLD_FILES = 2
_WAITING_LINES = 10_000
_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#\"'<>]*@)?([^\s?#\"'<>]*)([?#][^\s\"'<>]*)?")


def redact_urls(text: str) -> str:
    """``text`` with each URL in it cut to scheme, host and path; what is cut leaves ``?…``."""
    if "://" not in text:
        return text
    return _URL.sub(lambda found: found[1] + found[3] + ("?…" if found[4] else ""), text)


@contextmanager
def logging_to_stderr(level: str) -> Generator[None]:
    """Logs to stderr while inside; ``level`` is debug, info, warning or error."""
    stream = sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(for_people=stream.isatty()))
    with _installed(handler, level):
        yield


@contextmanager
def logging_to_file(path: Path, level: str, *, take_stderr: bool = False) -> Generator[None]:
    """Logs JSON lines to ``path`` while inside: 30 MiB at most, in three files.

    Args:
        path: in a directory that exists.
        level: debug, info, warning or error.
        take_stderr: stdout and stderr of the process follow the file, so that what crashes says reaches it too.

    Raises:
        OSError: the file cannot be written.
    """
    target = _FollowedFile(path, take_stderr=take_stderr)
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_WAITING_LINES)
    handler = _BoundedQueueHandler(lines)
    handler.setFormatter(_formatter(for_people=False))
    listener = QueueListener(lines, target)
    listener.start()
    try:
        with _installed(handler, level):
            yield
    finally:
        listener.stop()
        target.close()


@contextmanager
def _installed(handler: logging.Handler, level: str) -> Generator[None]:
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),  # below the threshold: a call and no more
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(max(threshold, logging.WARNING))  # libraries: httpx tells every request as info
    ours = [logging.getLogger(name) for name in ("flyfs", "supernode")]
    for logger in ours:
        logger.setLevel(threshold)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        for logger in ours:
            logger.setLevel(logging.NOTSET)
        structlog.reset_defaults()


def _shared_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def _formatter(*, for_people: bool) -> logging.Formatter:
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *_shared_processors()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _redacted, renderer],
    )


def _redacted(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {key: _redacted_value(value) for key, value in event.items()}


def _redacted_value(value: object) -> object:
    """Redacts texts, however deep; what is no plain value becomes a text, because it may hold a URL."""
    if isinstance(value, str):
        return redact_urls(value).encode("utf-8", "backslashreplace").decode()  # names may hold bytes that are no UTF-8
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _redacted_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted_value(each) for each in value]
    return _redacted_value(str(value))


class _BoundedQueueHandler(QueueHandler):
    """Never waits: lines beyond the queue's bound are counted, and told of with the next line that fits."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]") -> None:
        super().__init__(lines)
        self._lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Overrides the putting only."""
        try:
            if self._lost:
                text = f'{{"event": "log.lines.lost", "level": "warning", "lines": {self._lost}}}'
                self.queue.put_nowait(logging.makeLogRecord({"msg": text, "levelno": logging.WARNING}))
                self._lost = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost += 1


class _FollowedFile(RotatingFileHandler):
    """A bounded log file that stdout and stderr of the process may follow through its rotations."""

    def __init__(self, path: Path, *, take_stderr: bool) -> None:
        self._take_stderr = take_stderr
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class' name
        """A full disk costs lines, and no more: a traceback for each would go to the same disk."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Ends it; what a full disk does not take is lost."""
        with suppress(OSError):
            super().close()

    def _open(self) -> IO[str]:  # type: ignore[override]  # the stub promises more than the base class needs
        stream = super()._open()
        if self._take_stderr:
            for descriptor in (1, 2):
                os.dup2(stream.fileno(), descriptor)
        return stream
