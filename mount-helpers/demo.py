"""The main job on real input, told with its figures. Shell.

An nginx origin with files of this machine; a zero-configuration mount; then a supernode with two daemons, of which the second is
served by the first. Exit status 0 only if every claim holds; whatever happens, nothing stays: no mount, process or file.
"""

import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.nginx import NginxOrigin, RequestLog  # noqa: E402  # the origin of the tests is not installed with the project

FLYFS = str(ROOT / ".venv/bin/flyfs")
SUPERNODE = str(ROOT / ".venv/bin/flyfs-supernode")
MIB = 1024 * 1024
RANDOM_BYTES = 200 * MIB
DOC_FILES = 200
"""Enough to make a tree, few enough to be copied in seconds."""
RUNTIME = "FLYFS_RUNTIME_DIR"
COMMAND_S = 120.0
"""No command of the demo takes a tenth of it; a hang ends here, with a word."""


class Wrong(Exception):
    """The demo failed; the message says which claim."""


def say(text: str = "") -> None:
    """One line of the story."""
    print(text, flush=True)


def claim(holds: bool, text: str) -> None:
    """One claim of the story; raises Wrong where it does not hold."""
    say(f"  {'ok' if holds else 'WRONG'}  {text}")
    if not holds:
        raise Wrong(text)


def run(*words: str | Path) -> str:
    """Output of a command; raises Wrong with its last words where it fails."""
    shown = " ".join(Path(word).name if str(word) in (FLYFS, SUPERNODE) else str(word) for word in words)
    try:
        done = subprocess.run(
            [str(word) for word in words],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Wrong(f"no end after {COMMAND_S:.0f} s: {shown}") from None
    if done.returncode:
        raise Wrong(f"exit status {done.returncode}: {shown}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def environment() -> dict[str, str]:
    """Ours without FLYFS_… settings, so that everybody sees the same demo, and without proxies: only loopback is spoken to.

    Runtime files have a place of the demo's own: mounts and the rate limit of this host are no part of it.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name == RUNTIME or not (name.startswith("FLYFS_") or name.lower().endswith("_proxy"))
    }


def sha256(path: Path) -> str:
    """Of a file, read from start to end."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mebibytes(count: int) -> str:
    """Bytes for the story."""
    return f"{count / MIB:.1f} MiB"


# -- the parts -----------------------------------------------------------------------------------------------------------


def make_tree(root: Path) -> list[Path]:
    """Real files of this machine: documentation, two programs, and 200 MiB that no compression or cache makes smaller.

    Returns the small files, relative to ``root``.
    """
    found = (path for path in Path("/usr/share/doc").rglob("*") if path.is_file() and not path.is_symlink())
    docs = sorted(path for path in found if path.stat().st_size < MIB)
    small: list[Path] = []
    for path in docs[:: max(1, len(docs) // DOC_FILES)][:DOC_FILES]:
        small.append(path.relative_to("/usr/share"))
        (root / small[-1]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / small[-1])
    (root / "bin").mkdir()
    for name in ("python3", "sha256sum"):
        shutil.copy(Path("/usr/bin", name) if Path("/usr/bin", name).exists() else sys.executable, root / "bin" / name)
    with (root / "random.bin").open("wb") as file:
        for _ in range(RANDOM_BYTES // MIB):
            file.write(os.urandom(MIB))
    return small


@contextmanager
def mounted(directory: Path, name: str, *options: str) -> Iterator[Path]:
    """A daemon with a cache of its own; unmounted and ended afterwards, gently if it can be, by force if it must be."""
    mountpoint, cache = directory / name, directory / f"{name}-cache"
    mountpoint.mkdir()
    number = 0
    try:
        run(FLYFS, "mount", mountpoint, "--cache", cache, *options)
        number = status(mountpoint)["pid"]
        yield mountpoint
        run(FLYFS, "umount", mountpoint)
    finally:
        if is_mounted(mountpoint):
            subprocess.run(["umount", "--lazy", str(mountpoint)], check=False)  # its session ends, and the daemon with it
        if number:
            end(number)


@contextmanager
def supernode(directory: Path) -> Iterator[str]:
    """A supernode on free ports of loopback; gives the address for peers."""
    options = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--allow-origin", "127.0.0.0/8")
    log = directory / "supernode.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [SUPERNODE, *options, "--cache", str(directory / "supernode-cache")],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    try:
        told = select.select([process.stdout], [], [], COMMAND_S)[0]
        words = process.stdout.readline().decode().split() if told else []
        if words[:1] != ["ready"]:
            raise Wrong(f"the supernode did not become ready: {log.read_text(errors='replace').strip()[-2000:]}")
        yield dict(word.split("=", 1) for word in words[1:])["peers"]
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def status(mountpoint: Path) -> dict[str, Any]:
    """The figures of a daemon."""
    figures: dict[str, Any] = json.loads(run(FLYFS, "status", mountpoint, "--json"))
    return figures


def is_mounted(mountpoint: Path) -> bool:
    """Whether something is mounted exactly there; asks the kernel's table, never the mount."""
    return any(line.split(" ")[4] == str(mountpoint) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def end(number: int) -> None:
    """Waits for a daemon that was told to unmount; kills it where it does not end."""
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:
        return
    if not select.select([handle], [], [], 10.0)[0]:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


def timed_sha256(path: Path) -> tuple[str, float]:
    """The checksum and how long reading took, in seconds."""
    start = time.monotonic()
    return sha256(path), time.monotonic() - start


def tell_origin(log: RequestLog) -> None:
    """What the origin was asked for, and the claim that it sent each byte of each file at most once."""
    gets = sum(one.method == "GET" for one in log)
    heads = sum(one.method == "HEAD" for one in log)
    say(f"      the origin saw {gets} GET and {heads} HEAD and sent {mebibytes(log.sent_bytes)}")
    files = {one.path for one in log if not one.path.endswith("/")}
    again = sorted(path for path in files if log.most_often_sent(path) > 1)
    claim(not again, "it sent no byte of a file twice" + (f": {', '.join(again[:5])}" if again else ""))
    claim(log.of("/random.bin").sent_bytes == RANDOM_BYTES, "and each byte of random.bin exactly once")


# -- the story -----------------------------------------------------------------------------------------------------------


def zero_configuration(directory: Path, origin: NginxOrigin, small: list[Path]) -> None:
    """One mount, nothing configured: remote files behave like local ones."""
    say("\n1. A mount without any configuration (it starts a supernode of its own)")
    before = origin.log()
    with mounted(directory, "mnt") as mountpoint:
        remote = mountpoint / "http" / origin.authority
        say(f"  $ flyfs mount {mountpoint.name}; ls {mountpoint.name}/http/{origin.authority}")
        names = run("ls", remote).split()
        say(f"      {'  '.join(names)}")
        claim(names == sorted(path.name for path in origin.root.iterdir()), "ls shows what the origin lists")

        start = time.monotonic()
        run("cp", "-r", remote / "doc", directory / "copy")
        took_s = time.monotonic() - start
        run("diff", "-r", directory / "copy", origin.root / "doc")
        claim(True, f"cp -r of {len(small)} small files in {took_s:.1f} s; diff -r against the origin's directory finds nothing")

        digest, took_s = timed_sha256(remote / "random.bin")
        speed = f"{mebibytes(RANDOM_BYTES)} in {took_s:.2f} s ({RANDOM_BYTES / MIB / took_s:.0f} MiB/s)"
        claim(digest == sha256(origin.root / "random.bin"), f"the SHA-256 of random.bin is the origin's: {speed}")

        said = run(remote / "bin/sha256sum", remote / "bin/python3").split()[0]
        claim(
            said == sha256(origin.root / "bin/python3"),
            "bin/sha256sum, run from the mount, reads bin/python3 on the mount rightly",
        )

        tell_origin(origin.log().since(before))
    claim(not is_mounted(mountpoint), "flyfs umount leaves nothing mounted")


def second_reader(directory: Path, origin: NginxOrigin) -> None:
    """One supernode, two daemons: the second is served by the first, the origin is asked once."""
    say("\n2. One supernode, two daemons with caches of their own")
    before = origin.log()
    with ExitStack() as parts:
        address = parts.enter_context(supernode(directory))
        options = ("--supernode", address, "--listen", "127.0.0.1:0")
        first = parts.enter_context(mounted(directory, "first", *options))
        second = parts.enter_context(mounted(directory, "second", *options))
        digest = sha256(origin.root / "random.bin")
        for name, mountpoint in (("first", first), ("second", second)):
            found, took_s = timed_sha256(mountpoint / "http" / origin.authority / "random.bin")
            claim(found == digest, f"the {name} daemon reads random.bin rightly, in {took_s:.2f} s")
        for name, mountpoint in (("first", first), ("second", second)):
            say(
                f"      bytes of the {name} daemon: "
                + ", ".join(f"{key} {mebibytes(n)}" for key, n in status(mountpoint)["bytes"].items())
            )
        figures = status(second)["bytes"]
        claim(figures["peers"] > figures["supernode"], "the second had most bytes from the first, not from the supernode")
        claim(figures["origin"] == 0, "and none from the origin")
        tell_origin(origin.log().since(before))


def main() -> int:
    """Tells the story; 1 where a claim does not hold."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))
    # Not /tmp: it may be small and in memory, and the demo keeps some 200 MiB five times.
    with ExitStack() as parts:
        directory = Path(tempfile.mkdtemp(prefix="flyfs-demo-", dir=os.environ.get("TMPDIR", "/var/tmp"))).resolve()
        parts.callback(remove, directory)
        os.environ[RUNTIME] = str(directory / "run")
        try:
            root = directory / "origin"
            root.mkdir()
            small = make_tree(root)
            origin = parts.enter_context(NginxOrigin.serving(root))
            say(f"An origin: nginx at {origin.url()}")
            say(f"with {len(small)} small files, two programs, and random.bin of {mebibytes(RANDOM_BYTES)}")
            zero_configuration(directory, origin, small)
            second_reader(directory, origin)
        except Wrong as error:
            say(f"\nThe demo failed: {error}")
            return 1
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    say("\nAll of it is right, and all of it is cleaned up.")
    return 0


def remove(directory: Path) -> None:
    """Removes what the demo made; never walks into something that is still mounted."""
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    left = [line.split(" ")[4] for line in table if line.split(" ")[4].startswith(f"{directory}/")]
    if left:
        say(f"still mounted, and therefore left behind: {', '.join(left)}")
    else:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
