"""Which command is meant, and what its end says to the shell that called it. Shell.

Exit status: 0 done, 1 failed, 2 a mistake in the arguments or the configuration, 130 interrupted. A failure is one line on
stderr: what, why, what to do. Only a bug shows a traceback. Each command's module is imported when it is asked for, so that a
command that computes (``path``) does not wait for libraries that mount or fetch.
"""

import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module

from flyfs.core.errors import ConfigError, FlyfsError, told_error

#: Name to what it does; ``flyfs.cli.NAME`` has ``prepare(arguments)``, which reads the configuration and returns what to run.
COMMANDS = {
    "mount": "mounts remote files under a directory",
    "umount": "ends a mount and its daemon",
    "get": "fetches one file",
    "path": "prints the path below a mountpoint at which a URL is seen",
    "status": "tells what the mounts of this host do",
    "cache": "lists, drops and verifies what was fetched",
    "warm": "fetches files before anybody reads them",
    "limit": "shows and sets what flyfs may receive and send on this host",
}
#: Refused by name: they come with later versions.
PLANNED = ("upgrade", "top", "doctor", "index", "image", "snapshotter")

INTERRUPTED = 130
"""128 + SIGINT, as shells say it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command in ``arguments`` (default: of this process); returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else ""
    if name in ("-h", "--help"):
        print(_usage())  # noqa: T201 - the answer to the question
        return 0
    if name == "--version":
        from importlib.metadata import version  # noqa: PLC0415 - 35 ms that only this answer needs

        print(f"flyfs {version('flyfs')}")  # noqa: T201 - as above
        return 0
    try:
        run = _prepare(name, given[1:])
    except ConfigError as error:
        return _fail(name if name in COMMANDS else "", error, 2)
    except KeyboardInterrupt:
        return INTERRUPTED
    try:
        return run()
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter's last flush complains
        return 1
    except BaseException as error:
        match _told(error):
            case KeyboardInterrupt():
                return INTERRUPTED
            case FlyfsError() as known:
                return _fail(name, known, 1)
            case _:
                raise


def _prepare(name: str, arguments: list[str]) -> Callable[[], int]:
    if not name or name.startswith("-"):
        raise ConfigError(f"{'there is no option ' + name if name else 'no command'}; see flyfs --help")
    if name in PLANNED:
        raise ConfigError(f"{name}: not in this version; see flyfs --help")
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        raise ConfigError(f"there is no command {name!r}; " + (f"did you mean {near[0]}?" if near else "see flyfs --help"))
    prepare: Callable[[Sequence[str]], Callable[[], int]] = import_module(f"flyfs.cli.{name}").prepare
    return prepare(arguments)


def _told(error: BaseException) -> BaseException:
    """What to tell of ``error``, out of the groups in which nurseries raise it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return KeyboardInterrupt() if error.subgroup(KeyboardInterrupt) else told_error(error)


def _fail(command: str, error: FlyfsError, status: int) -> int:
    where = f"flyfs: {command}: " if command else "flyfs: "
    sys.stderr.write(where + " ".join(error.message.split()) + "\n")
    return status


def _usage() -> str:
    commands = "\n".join(f"  {name:<8} {about}" for name, about in COMMANDS.items())
    return (
        "usage: flyfs COMMAND …\n\n"
        "A filesystem whose files live elsewhere: remote files, read piece by piece through peers.\n\n"
        f"{commands}\n\nflyfs COMMAND --help tells its options; flyfs --version the version."
    )
