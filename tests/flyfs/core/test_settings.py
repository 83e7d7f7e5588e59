from typing import Any

import pytest

from flyfs.core import option_kinds as kinds
from flyfs.core.address import Address
from flyfs.core.command_line import CommandLine, Option
from flyfs.core.errors import ConfigError
from flyfs.core.settings import Settings, load

CONFIG = Option(name="config", kind=kinds.PATH, default="/etc/x.toml", help="file")
CACHE = Option(name="cache", kind=kinds.PATH, help="100 % of it")
CACHE_LIMIT = Option(name="cache-limit", kind=kinds.SIZE, default="1GiB", help="bytes")
INSECURE = Option(name="insecure", kind=kinds.SWITCH, help="switch")
SUPERNODE = Option(name="supernode", kind=kinds.SUPERNODE, repeatable=True, help="many")
HEADER = Option(name="header", kind=kinds.TEXT, repeatable=True, planned=True, help="later")
EMBEDDED = Option(name="embedded", kind=kinds.SWITCH, hidden=True, help="inner")
OUTPUT = Option(name="output", short="o", kind=kinds.PATH, help="file")
ONE_CALL = Option(name="quux-word", kind=kinds.SWITCH, flag_only=True, help="this call")
OPTIONS: tuple[Option[Any], ...] = (CONFIG, CACHE, CACHE_LIMIT, INSECURE, SUPERNODE, HEADER, EMBEDDED, OUTPUT, ONE_CALL)
TIMEOUT = Option(name="timeout", kind=kinds.SECONDS, help="of another command")


def merged(*arguments: str, environment: dict[str, str] | None = None, files: dict[str, str | OSError] | None = None) -> Settings:
    command = CommandLine("flyfs test", "about", OPTIONS, {})

    def read_text(path: str) -> str:
        text = (files or {}).get(path, FileNotFoundError(2, "No such file"))
        if isinstance(text, OSError):
            raise text
        return text

    return load(
        OPTIONS,
        flags=command.split(arguments)[0],
        environment=environment or {},
        config=CONFIG,
        read_text=read_text,
        file_options=(*OPTIONS, TIMEOUT),
    )


def complaint(*arguments: str, environment: dict[str, str] | None = None, files: dict[str, str | OSError] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        merged(*arguments, environment=environment, files=files)
    return caught.value.message


@pytest.mark.parametrize(
    ("flag", "variable", "in_file", "wanted", "source"),
    [
        (True, True, True, 1, "--cache-limit"),
        (False, True, True, 2, "FLYFS_CACHE_LIMIT"),
        (False, False, True, 3, "cache_limit in /etc/x.toml"),
        (False, False, False, 2**30, "the default of --cache-limit"),
        (True, False, True, 1, "--cache-limit"),
        (True, False, False, 1, "--cache-limit"),
    ],
)
def test_a_flag_beats_a_variable_beats_a_file_beats_the_default(
    flag: bool, variable: bool, in_file: bool, wanted: int, source: str
) -> None:
    settings = merged(
        *(["--cache-limit", "1"] if flag else []),
        environment={"FLYFS_CACHE_LIMIT": "2"} if variable else {},
        files={"/etc/x.toml": "cache_limit = 3"} if in_file else {},
    )

    assert settings.need(CACHE_LIMIT) == wanted
    assert settings.source(CACHE_LIMIT) == source
    assert settings.by_flag(CACHE_LIMIT) == flag


def test_what_nobody_gave_has_no_value() -> None:
    settings = merged()

    assert settings.get(CACHE) is None
    assert settings.all(SUPERNODE) == ()
    assert not settings.on(INSECURE)
    assert not settings.by_flag(CACHE)


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (["--supernode", "a:1", "--supernode", "b:2", "--supernode", "a:1"], {}, ""),
        ([], {"FLYFS_SUPERNODE": "a:1, b:2,"}, ""),
        ([], {}, 'supernode = ["a:1", "b:2"]'),
        ([], {}, 'supernode = "a:1,b:2"'),
        ([], {"FLYFS_SUPERNODE": "a:1,b:2"}, 'supernode = ["c:3"]'),
    ],
)
def test_a_repeatable_option_is_told_in_three_ways_and_replaces_what_is_weaker(
    arguments: list[str], environment: dict[str, str], text: str
) -> None:
    settings = merged(*arguments, environment=environment, files={"/etc/x.toml": text})

    assert settings.all(SUPERNODE) == (Address("a", 1), Address("b", 2))


def test_what_one_call_does_is_told_by_flag() -> None:
    assert merged("--quux-word").on(ONE_CALL)


def test_of_a_flag_given_twice_the_last_wins() -> None:
    assert merged("--cache", "a", "--cache=b").get(CACHE) == "b"


@pytest.mark.parametrize(
    ("text", "on"), [("true", True), ("1", True), ("YES", True), ("false", False), ("0", False), ("no", False)]
)
def test_a_switch_can_be_turned_off_by_what_is_stronger(text: str, on: bool) -> None:
    assert merged(environment={"FLYFS_INSECURE": text}, files={"/etc/x.toml": "insecure = true"}).on(INSECURE) is on


def test_a_switch_is_true_or_false_in_a_file() -> None:
    assert merged(files={"/etc/x.toml": "insecure = true"}).on(INSECURE)
    assert complaint(files={"/etc/x.toml": "insecure = 1"}) == "insecure in /etc/x.toml: 1 is not true or false"


def test_an_empty_variable_is_an_unset_one() -> None:
    assert merged(environment={"FLYFS_CACHE": ""}).get(CACHE) is None


def test_the_file_is_named_by_flag_or_variable() -> None:
    files: dict[str, str | OSError] = {"/a": 'cache = "from a"', "/b": 'cache = "from b"'}

    assert merged("--config", "/a", environment={"FLYFS_CONFIG": "/b"}, files=files).get(CACHE) == "from a"
    assert merged(environment={"FLYFS_CONFIG": "/b"}, files=files).get(CACHE) == "from b"


def test_a_file_may_hold_what_other_commands_take() -> None:
    assert merged(files={"/etc/x.toml": 'timeout = 5\ncache = "c"'}).get(CACHE) == "c"


@pytest.mark.parametrize(
    "variable",
    [
        "FLYFS_TIMEOUT",
        "FLYFS_HTTP",
        "FLYFS_SERVICE_HOST",
        "FLYFS_SERVICE_PORT_PEERS",
        "FLYFS_PORT",
        "FLYFS_PORT_7400_TCP_ADDR",
        "FLYFS_SUPERNODE_SERVICE_HOST",
        "FLYFS_SUPERNODE_PORT_7400_TCP",
        "OTHER",
    ],
)
def test_variables_of_other_commands_and_of_service_links_are_let_be(variable: str) -> None:
    assert merged(environment={variable: "tcp://10.0.0.1:7400"}).get(CACHE) is None


@pytest.mark.parametrize(
    ("arguments", "environment", "text", "message"),
    [
        (["--cach", "x"], {}, "", "there is no option --cach; did you mean --cache?"),
        (["--cach=x"], {}, "", "there is no option --cach; did you mean --cache?"),
        (["--zzzzzz"], {}, "", "there is no option --zzzzzz"),
        (["surplus"], {}, "", "unexpected argument 'surplus'; see flyfs test --help"),
        (["--cache"], {}, "", "argument --cache: expected one argument; see flyfs test --help"),
        (["--cache-limit", "5 bananas"], {}, "", "--cache-limit: '5 bananas' is not a size such as 500MiB or 20GB"),
        ([], {"FLYFS_CACHE_LIMIT": "x"}, "", "FLYFS_CACHE_LIMIT: 'x' is not a size such as 500MiB or 20GB"),
        ([], {"FLYFS_CAHCE": "x"}, "", "environment: there is no setting FLYFS_CAHCE; did you mean FLYFS_CACHE?"),
        ([], {"FLYFS_EMBEDDED": "1"}, "", "environment: there is no setting FLYFS_EMBEDDED"),
        ([], {"FLYFS_QUUX_WORD": "1"}, "", "environment: there is no setting FLYFS_QUUX_WORD"),
        ([], {}, "quux_word = true", "/etc/x.toml: there is no setting 'quux_word'"),
        ([], {}, "cache_limit = 1.5", "cache_limit in /etc/x.toml: 1.5 is not a size such as 500MiB or 20GB"),
        ([], {}, "cache_limit = true", "cache_limit in /etc/x.toml: True is not a size such as 500MiB or 20GB"),
        ([], {}, 'cache = ["a"]', "cache in /etc/x.toml: ['a'] is not a path"),
        ([], {}, "supernode = [1]", "supernode in /etc/x.toml: 1 is not HOST:PORT or srv://NAME"),
        ([], {}, "cache-limit = 1", "/etc/x.toml: there is no setting 'cache-limit'; did you mean cache_limit?"),
        ([], {}, "embedded = true", "/etc/x.toml: there is no setting 'embedded'"),
        ([], {}, 'config = "y"', "/etc/x.toml: there is no setting 'config'"),
        ([], {}, "[mount]\ncache = 1", "/etc/x.toml: there is no setting 'mount'"),
        ([], {}, "= 1", "/etc/x.toml: is not TOML: Invalid statement (at line 1, column 1)"),
        (["--header", "a: b"], {}, "", "--header: not in this version; leave it out"),
        ([], {"FLYFS_HEADER": "a: b"}, "", "FLYFS_HEADER: not in this version; leave it out"),
        ([], {}, 'header = ["a: b"]', "header in /etc/x.toml: not in this version; leave it out"),
        (["--supernode", "srv://"], {}, "", "--supernode: 'srv://' is not HOST:PORT or srv://NAME"),
        (["--config", "/no"], {}, "", "/no: there is no such configuration file"),
    ],
)
def test_a_mistake_names_its_source_its_key_and_what_is_accepted(
    arguments: list[str], environment: dict[str, str], text: str, message: str
) -> None:
    assert complaint(*arguments, environment=environment, files={"/etc/x.toml": text}) == message


def test_a_file_that_cannot_be_read_is_an_error_even_at_its_default_place() -> None:
    message = complaint(files={"/etc/x.toml": PermissionError(13, "Permission denied")})

    assert message == "/etc/x.toml: cannot be read: Permission denied"


def test_a_weaker_value_is_checked_too() -> None:
    assert complaint("--cache-limit", "1", environment={"FLYFS_CACHE_LIMIT": "x"}).startswith("FLYFS_CACHE_LIMIT: 'x'")
