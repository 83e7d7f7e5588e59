import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support.hostile_origin import HostileOriginProcess, pattern


def fetch(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return bytes(answer.read())


def test_a_script_says_what_the_process_serves_and_its_input_ends_it(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"/f": {"text": "hello"}, "/g": {"size": 7, "seed": 2}}))
    command = [sys.executable, "-m", "tests.support.hostile_origin", "--script", str(script)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        origin = f"http://127.0.0.1:{int(process.stdout.readline())}"
        assert fetch(f"{origin}/f") == b"hello"
        assert fetch(f"{origin}/g") == pattern(7, 2)
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_paths_change_while_the_process_runs() -> None:
    with HostileOriginProcess.started({"/caf\u00e9": {"text": "one"}}) as origin:
        assert fetch(origin.url("/caf\u00e9")) == b"one"
        origin.put("/caf\u00e9", text="two", etag='"2"')
        assert fetch(origin.url("/caf\u00e9")) == b"two"
        origin.remove("/caf\u00e9")
        assert [(request.path, request.status, request.sent_bytes) for request in origin.requests()] == [
            ("/caf\u00e9", 200, 3)
        ] * 2
