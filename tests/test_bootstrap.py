"""The set-up script where it says no; where it says yes, everybody has run it before running this."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOTSTRAP = ROOT / "mount-helpers/bootstrap"


def run(script: Path, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path or os.environ["PATH"], "PYTHON": ""}
    return subprocess.run(
        [str(script), *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("words", [("tests",), ("demo", "now")])
def test_an_unknown_word_is_a_usage_error(words: tuple[str, ...]) -> None:
    done = run(BOOTSTRAP, *words)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", "bootstrap: usage: mount-helpers/bootstrap [demo|test]\n")


def test_help_tells_all_three_uses() -> None:
    done = run(BOOTSTRAP, "--help")

    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("  ")] == [
        ["mount-helpers/bootstrap", "Debian"],
        ["mount-helpers/bootstrap", "demo"],
        ["mount-helpers/bootstrap", "test"],
    ]


@pytest.mark.fuse
def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    """Marked ``fuse`` because it expects the Debian packages to be there, which the script would install otherwise."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        (tools / name).write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2\nexit 1\n')
        (tools / name).chmod(0o755)
    (tmp_path / "mount-helpers").mkdir()
    script = Path(shutil.copy(BOOTSTRAP, tmp_path / "mount-helpers/bootstrap"))

    done = run(script, path=f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin")

    assert done.returncode == 1
    assert done.stderr == "bootstrap: Python 3.11 or newer is needed, python3 is Python 3.9.2; name one with PYTHON=…\n"
    assert not (tmp_path / ".venv").exists()
