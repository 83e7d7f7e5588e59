"""The shape of the code, as tests: where I/O lives, what each module says of itself, where each library is at home.

The directions between the rooms are import-linter's (``[tool.importlinter]``, run by ``just check``).
"""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("flyfs", "supernode")

WORLD = {
    "asyncio", "concurrent", "fcntl", "hypercorn", "httpx", "logging", "mmap", "multiprocessing", "os", "pyfuse3", "random",
    "rich", "secrets", "select", "shutil", "signal", "socket", "ssl", "starlette", "structlog", "subprocess", "sys", "tempfile",
    "threading", "time", "trio",
}  # fmt: skip
"""Importing one of these lets a file touch the world, the clock, chance or the log."""

SHELLS = {
    "flyfs/__main__.py",
    "flyfs/cli/background.py",
    "flyfs/cli/cache.py",
    "flyfs/cli/caches.py",
    "flyfs/cli/get.py",
    "flyfs/cli/limit.py",
    "flyfs/cli/main.py",
    "flyfs/cli/mount.py",
    "flyfs/cli/output_file.py",
    "flyfs/cli/path.py",
    "flyfs/cli/progress.py",
    "flyfs/cli/status.py",
    "flyfs/cli/terminable.py",
    "flyfs/cli/through_daemon.py",
    "flyfs/cli/umount.py",
    "flyfs/cli/warm.py",
    "flyfs/config/cache.py",
    "flyfs/config/get.py",
    "flyfs/config/host.py",
    "flyfs/config/mount.py",
    "flyfs/config/places.py",
    "flyfs/config/settings.py",
    "flyfs/config/url.py",
    "flyfs/config/warm.py",
    "flyfs/control/cache.py",
    "flyfs/control/client.py",
    "flyfs/control/mounts.py",
    "flyfs/control/server.py",
    "flyfs/daemon/embedded.py",
    "flyfs/daemon/fetching.py",
    "flyfs/daemon/figures.py",
    "flyfs/daemon/mounting.py",
    "flyfs/daemon/peer.py",
    "flyfs/daemon/warming.py",
    "flyfs/fs/filesystem.py",
    "flyfs/fs/knowledge.py",
    "flyfs/fs/open_files.py",
    "flyfs/fs/questions.py",
    "flyfs/fs/single_flight.py",
    "flyfs/fs/tree.py",
    "flyfs/fuse/answering.py",
    "flyfs/fuse/detaching.py",
    "flyfs/fuse/fusectl.py",
    "flyfs/fuse/kernel_settings.py",
    "flyfs/fuse/mount.py",
    "flyfs/fuse/operations.py",
    "flyfs/fuse/stale_mount.py",
    "flyfs/fuse/wakening.py",
    "flyfs/limit/budget.py",
    "flyfs/limit/host_limit.py",
    "flyfs/limit/intake.py",
    "flyfs/limit/limit_file.py",
    "flyfs/limit/receive_buffer.py",
    "flyfs/limit/turns.py",
    "flyfs/origin/body.py",
    "flyfs/origin/client.py",
    "flyfs/origin/connection.py",
    "flyfs/origin/metered_stream.py",
    "flyfs/origin/permits.py",
    "flyfs/origin/transport.py",
    "flyfs/store/arrivals.py",
    "flyfs/store/blob_files.py",
    "flyfs/store/blob_scan.py",
    "flyfs/store/cache_directory.py",
    "flyfs/store/directory_lock.py",
    "flyfs/store/drops.py",
    "flyfs/store/effects.py",
    "flyfs/store/faults.py",
    "flyfs/store/memory.py",
    "flyfs/store/open_blobs.py",
    "flyfs/store/page_cache.py",
    "flyfs/store/proofs.py",
    "flyfs/store/reader.py",
    "flyfs/store/scrub.py",
    "flyfs/store/services.py",
    "flyfs/store/space.py",
    "flyfs/store/store.py",
    "flyfs/store/stored_blob.py",
    "flyfs/store/sync_loop.py",
    "flyfs/store/unvouched.py",
    "flyfs/store/writer.py",
    "flyfs/swarm/back_to_origin.py",
    "flyfs/swarm/conduct.py",
    "flyfs/swarm/confirming.py",
    "flyfs/swarm/download.py",
    "flyfs/swarm/last_resort.py",
    "flyfs/swarm/losses.py",
    "flyfs/swarm/memberships.py",
    "flyfs/swarm/names.py",
    "flyfs/swarm/neighbours.py",
    "flyfs/swarm/news.py",
    "flyfs/swarm/open_blob.py",
    "flyfs/swarm/repute.py",
    "flyfs/swarm/roster.py",
    "flyfs/swarm/session.py",
    "flyfs/swarm/supernodes.py",
    "flyfs/swarm/swarm.py",
    "flyfs/swarm/uploads.py",
    "flyfs/swarm/wishes.py",
    "flyfs/telemetry/heap.py",
    "flyfs/telemetry/log.py",
    "flyfs/telemetry/loop_watch.py",
    "flyfs/transport/buffers.py",
    "flyfs/transport/accepting.py",
    "flyfs/transport/bulk.py",
    "flyfs/transport/greeting.py",
    "flyfs/transport/link.py",
    "flyfs/transport/srv.py",
    "supernode/__main__.py",
    "supernode/cdn/adoption.py",
    "supernode/cdn/answers_cache.py",
    "supernode/cdn/cdn.py",
    "supernode/cdn/feed.py",
    "supernode/cdn/names.py",
    "supernode/cdn/preheat.py",
    "supernode/cdn/shelves.py",
    "supernode/cli.py",
    "supernode/config.py",
    "supernode/daemon.py",
    "supernode/server/dial_back.py",
    "supernode/server/isolating.py",
    "supernode/server/names.py",
    "supernode/server/sessions.py",
    "supernode/server/spot_check.py",
    "supernode/server/taking_over.py",
    "supernode/web/app.py",
}
"""Every module that awaits or touches the world. Adding a line is a design decision: say why in the commit message."""

HOMES = {
    "cryptography": {"flyfs/core/signing.py"},
    "dns": {"flyfs/transport/srv.py"},
    "grpc": {"flyfs/snapshotter/"},
    "h2": {"flyfs/origin/"},
    "httpcore": {"flyfs/origin/"},
    "httpx": {"flyfs/origin/"},
    "hypercorn": {"supernode/web/"},
    "msgpack": {"flyfs/wire/"},
    "pyfuse3": {"flyfs/fuse/"},
    "rich": {"flyfs/cli/"},
    "starlette": {"supernode/web/"},
}
"""One home per library, a module or a room: whoever replaces a library opens one door."""

LONG: dict[str, str] = {"flyfs/wire/messages.py": "the list of all messages, each with its number"}
"""Modules of more than 400 lines, each with the reason why it is one idea all the same."""
MAX_LINES = 400

VAGUE = {"block", "chunk", "common", "helper", "helpers", "manager", "misc", "part", "util", "utils"}
"""Words that name nothing here (docs/reference/glossary.md)."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of both packages by its path from the root."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(), path) for path in paths}


def is_door_sign(path: str) -> bool:
    return path.endswith("__init__.py")


def imported(tree: ast.Module) -> set[str]:
    """The full names of all modules that a file imports, at whatever depth."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                names |= {module} | {f"{module}.{alias.name}" for alias in aliases}
            case _:
                pass
    return names


def is_stub(node: ast.AsyncFunctionDef) -> bool:
    """Whether a method of a Protocol declares only: a docstring, an ellipsis."""
    return all(isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in node.body)


def is_shell(tree: ast.Module) -> bool:
    """Whether a file awaits, or imports what lets it touch the world. Disk access through ``pathlib`` goes unseen."""
    awaits = (ast.AsyncWith, ast.AsyncFor, ast.Await)
    if any(isinstance(node, awaits) or (isinstance(node, ast.AsyncFunctionDef) and not is_stub(node)) for node in ast.walk(tree)):
        return True
    return any(name.partition(".")[0] in WORLD for name in imported(tree))


def said_of(tree: ast.Module) -> str:
    """``pure`` or ``shell``, whichever a module's docstring says first; empty where it says neither."""
    found = re.search(r"\b(pure|shell)\b", (ast.get_docstring(tree) or "").lower())
    return found[1] if found else ""


def test_only_named_shells_touch_the_world() -> None:
    found = {path for path, tree in modules().items() if is_shell(tree) or said_of(tree) == "shell"}
    unnamed, gone = sorted(found - SHELLS), sorted(SHELLS - found)

    assert not unnamed, "these touch the world and are not named as shells:\n" + "\n".join(unnamed)
    assert not gone, "these are named as shells and are none:\n" + "\n".join(gone)


def test_every_module_says_whether_it_is_pure_or_a_shell() -> None:
    rooms = {path: tree for path, tree in modules().items() if not is_door_sign(path)}
    silent = [path for path, tree in rooms.items() if not said_of(tree)]
    lying = [path for path, tree in rooms.items() if said_of(tree) == "pure" and is_shell(tree)]

    assert not silent, "a docstring says Pure or Shell:\n" + "\n".join(silent)
    assert not lying, "these say Pure and touch the world:\n" + "\n".join(lying)


def test_a_door_sign_is_a_docstring_and_nothing_else() -> None:
    busy = [
        path for path, tree in modules().items() if is_door_sign(path) and not (ast.get_docstring(tree) and len(tree.body) == 1)
    ]

    assert busy == []


def test_a_pure_module_never_logs() -> None:
    pure = {path: tree for path, tree in modules().items() if said_of(tree) == "pure" and "/telemetry/" not in path}
    telling = [path for path, tree in pure.items() if any(name.startswith("flyfs.telemetry") for name in imported(tree))]

    assert telling == []


def test_each_library_has_one_home() -> None:
    strays = [
        (path, name)
        for path, tree in modules().items()
        for name in sorted({name.partition(".")[0] for name in imported(tree)} & HOMES.keys())
        if not path.startswith(tuple(HOMES[name]))
    ]

    assert strays == []


def test_no_module_hides_a_second_idea() -> None:
    long = {path for path in modules() if len((ROOT / path).read_text().splitlines()) > MAX_LINES}

    assert sorted(long - LONG.keys()) == [], f"more than {MAX_LINES} lines without a reason"
    assert sorted(LONG.keys() - long) == [], "short again: the reason can go"


def words_of(name: str) -> set[str]:
    """The words of an identifier: ``PieceGrid`` and ``piece_grid`` are both piece and grid."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_no_module_or_class_has_a_name_that_says_nothing() -> None:
    vague = [
        (path, name)
        for path, tree in modules().items()
        for name in [*Path(path).parts, *(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
        if words_of(name.removesuffix(".py")) & VAGUE
    ]

    assert vague == []


def test_only_the_kernel_adapter_knows_its_exceptions() -> None:
    raising = [path for path, tree in modules().items() if "FUSEError" in ast.dump(tree) and not path.startswith("flyfs/fuse/")]

    assert raising == []


def test_tests_mirror_the_packages() -> None:
    rooms = {place for path in modules() for place in (Path(path).parent.as_posix(), path.removesuffix(".py"))}
    places = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    odd = {place for place in places if place.split("/")[0] in PACKAGES and place not in rooms}

    assert odd == set()
