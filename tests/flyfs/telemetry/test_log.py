import io
import json
import logging
import os
import queue
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from flyfs.telemetry import log
from flyfs.telemetry.log import logging_to_file, logging_to_stderr, redact_urls

SECRET = "https://ann:pass@h.example:8443/a/b.bin?X-Signature=s3cret#frag"
SAFE = "https://h.example:8443/a/b.bin?…"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("no address at all?", "no address at all?"),
        (SECRET, SAFE),
        (f'GET "{SECRET}" gave 403', f'GET "{SAFE}" gave 403'),
        (f"two: {SECRET} and http://b/?q, end", f"two: {SAFE} and http://b/?… end"),
        ("https://h/a@b", "https://h/a@b"),
        ("http://u@h", "http://h"),
        ("s3://key:secret@e/b", "s3://e/b"),
    ],
)
def test_urls_lose_query_and_userinfo(text: str, safe: str) -> None:
    assert redact_urls(text) == safe


@given(st.text(), st.text(alphabet="abc123", min_size=8), st.text())
def test_a_query_never_survives(before: str, secret: str, after: str) -> None:
    assert f"?k={secret}" not in redact_urls(f"{before} http://h/x?k={secret} {after}")


def test_a_file_holds_json_lines_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "flyfs.log"
    logger = structlog.get_logger("flyfs.test")
    with logging_to_file(path, "info"):
        logger.debug("test.quiet.unseen")
        with structlog.contextvars.bound_contextvars(mount="m"):
            logger.info("test.step.done", url=SECRET, nested={"urls": [SECRET, 1, None]}, odd=ValueError(SECRET), bad="\udc80")
        try:
            int(SECRET)
        except ValueError:
            logger.exception("test.step.failed")
        logging.getLogger("httpx").info("HTTP Request: GET %s", SECRET)
        logging.getLogger("httpx").warning("HTTP Request: GET %s", SECRET)

    done, failed, foreign = lines(path)
    assert done["event"] == "test.step.done"
    assert (done["level"], done["logger"], done["mount"], done["url"]) == ("info", "flyfs.test", "m", SAFE)
    assert (done["nested"], done["odd"], done["bad"]) == ({"urls": [SAFE, 1, None]}, SAFE, "\\udc80")
    assert str(done["timestamp"]).endswith("Z")
    assert f"invalid literal for int() with base 10: '{SAFE}" in str(failed["exception"])
    assert (foreign["event"], foreign["level"], foreign["logger"]) == (f"HTTP Request: GET {SAFE}", "warning", "httpx")
    assert "s3cret" not in path.read_text()


def test_afterwards_nothing_is_left_behind(tmp_path: Path) -> None:
    handlers = list(logging.getLogger().handlers)
    with logging_to_file(tmp_path / "flyfs.log", "debug"):
        assert len(logging.getLogger().handlers) == len(handlers) + 1

    assert logging.getLogger().handlers == handlers
    assert logging.getLogger("flyfs").level == logging.NOTSET


def test_stderr_gets_json_where_it_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with logging_to_stderr("warning"):
        structlog.get_logger("supernode.test").info("test.quiet.unseen")
        structlog.get_logger("supernode.test").warning("test.step.odd", url=SECRET)

    assert json.loads(stream.getvalue())["url"] == SAFE


def test_stderr_gets_text_where_it_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with logging_to_stderr("info"):
        structlog.get_logger("flyfs.test").info("test.step.done", url=SECRET)

    assert "test.step.done" in stream.getvalue()
    assert SAFE in stream.getvalue()
    assert "{" not in stream.getvalue()


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_FILE_BYTES", 2000)
    with logging_to_file(tmp_path / "flyfs.log", "info"):
        for number in range(200):
            structlog.get_logger("flyfs.test").info("test.step.done", number=number)

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["flyfs.log", "flyfs.log.1", "flyfs.log.2"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert lines(tmp_path / "flyfs.log")[-1]["number"] == 199


def test_lines_that_a_slow_disk_leaves_behind_are_counted() -> None:
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(1)
    handler = log._BoundedQueueHandler(waiting)
    for number in range(4):
        handler.enqueue(logging.makeLogRecord({"msg": f"line {number}"}))
    assert waiting.get().msg == "line 0"

    handler.enqueue(logging.makeLogRecord({"msg": "line 4"}))  # only the notice fits: line 4 is lost as well

    assert json.loads(waiting.get().msg) == {"event": "log.lines.lost", "level": "warning", "lines": 3}
    waiting.maxsize = 2
    handler.enqueue(logging.makeLogRecord({"msg": "line 5"}))
    assert json.loads(waiting.get().msg)["lines"] == 1
    assert waiting.get().msg == "line 5"


def test_what_a_process_says_besides_follows_the_file(tmp_path: Path) -> None:
    script = """
import os, sys, structlog
from pathlib import Path
from flyfs.telemetry import log
log._FILE_BYTES = 1500
with log.logging_to_file(Path(sys.argv[1]), "info", take_stderr=True):
    os.write(2, b"an early word\\n")
    for number in range(30):
        structlog.get_logger("flyfs.test").info("test.step.done", number=number)
os.write(2, b"a last word\\n")
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "f.log")], capture_output=True, check=True)

    assert done.stdout == done.stderr == b""
    assert (tmp_path / "f.log").read_text().endswith("a last word\n")
    assert os.path.getsize(tmp_path / "f.log.1") <= 1500


def test_a_full_disk_costs_lines_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_file(Path("/dev/full"), "info"):
        for number in range(3):
            structlog.get_logger("flyfs.test").info("test.line.written", number=number, text="x" * 5000)

    assert capsys.readouterr() == ("", "")


def test_a_mistake_in_logging_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = log._FollowedFile(tmp_path / "log", take_stderr=False)
    target.emit(logging.makeLogRecord({"msg": "%d is no number", "args": ("this",)}))
    target.close()

    assert "is no number" in capsys.readouterr().err
