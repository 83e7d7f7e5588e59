"""The options of the ``flyfs`` commands, and which command takes which. Pure."""

from typing import Any

from flyfs.core import option_kinds as kinds
from flyfs.core.command_line import Option

CONFIG = Option(
    name="config", kind=kinds.PATH, default="/etc/flyfs/flyfs.toml", help="settings in TOML; the default may be missing"
)
RUNTIME_DIR = Option(name="runtime-dir", kind=kinds.PATH, help="control sockets and locks")
JSON = Option(name="json", kind=kinds.SWITCH, help="JSON documents, one a line")
SUPERNODES = Option(
    name="supernode", kind=kinds.SUPERNODE, repeatable=True, help="who coordinates; none: one is started on this host"
)
RESOLVER = Option(
    name="resolver", kind=kinds.IP_ADDRESS, help="the DNS server to ask about srv:// names; none: those of /etc/resolv.conf"
)
CACHE = Option(name="cache", kind=kinds.PATH, help="directory for what was fetched; one daemon each")
CACHE_LIMIT = Option(name="cache-limit", kind=kinds.SIZE, help="bytes that the cache may use")
NO_ORIGIN = Option(name="no-origin", kind=kinds.SWITCH, help="never ask an origin from here, only peers and supernodes")
ALLOW_ORIGIN = Option(
    name="allow-origin", kind=kinds.ORIGIN, repeatable=True, help="origins to allow that are refused by default"
)
ORIGIN_CA = Option(name="origin-ca", kind=kinds.PATH, help="PEM file of authorities to trust for https origins")
PIECE_SIZE = Option(name="piece-size", kind=kinds.PIECE_SIZE, help="for tests and benchmarks, with the supernode started here")
VERIFY = Option(
    name="verify", kind=kinds.VERIFY, default="first-use", help="when what lies in the cache is proved again before it is served"
)
LOG_LEVEL = Option(name="log-level", kind=kinds.LEVEL, default="info", help="least important message that is logged")
QUIET_LOG_LEVEL = Option(name="log-level", kind=kinds.LEVEL, default="error", help="least important message that is logged")
LISTEN = Option(name="listen", kind=kinds.ADDRESS, help="where other peers reach this daemon")
ADVERTISE = Option(name="advertise", kind=kinds.ADDRESS, help="the address that other peers are told, where it is another one")
CONSISTENCY = Option(name="consistency", kind=kinds.CONSISTENCY, default="ttl=10", help="how old an answer about a name may be")
LOCATION = Option(
    name="location", kind=kinds.LOCATION, help="where this host is, as in region|zone|rack; told to the supernode and to peers"
)
INSECURE = Option(name="insecure", kind=kinds.SWITCH, help="listen beyond loopback without a token or TLS")
DEADLINE = Option(name="deadline", kind=kinds.SECONDS, default="30", help="how long a read may wait")
UMASK = Option(name="umask", kind=kinds.OCTAL, default="000", help="permission bits to take away")
ALLOW_OTHER = Option(name="allow-other", kind=kinds.SWITCH, help="let all users of this host see the mount")
FOREGROUND = Option(name="foreground", kind=kinds.SWITCH, help="stay in the foreground and log to stderr")
READY_PIPE = Option(
    name="ready-pipe", kind=kinds.DESCRIPTOR, hidden=True, help="where to tell the starting command that the mount answers"
)
OUTPUT = Option(name="output", short="o", kind=kinds.PATH, help="file to write; the last part of the URL by default")
SHA256 = Option(name="sha256", kind=kinds.SHA256, help="digest that the content must have")
TIMEOUT = Option(name="timeout", kind=kinds.SECONDS, help="give up after so long")

TO = Option(name="to", kind=kinds.SIZE, help="bytes that may stay; by default what the cache's limit allows")
RATE_LIMIT = Option(
    name="rate-limit", kind=kinds.RATE, help="what flyfs may receive, and send, on the whole host: all mounts and commands"
)
RECEIVE = Option(name="receive", kind=kinds.RATE, flag_only=True, help="what flyfs may receive on the whole host")
SEND = Option(name="send", kind=kinds.RATE, flag_only=True, help="what flyfs may send on the whole host")
LOCAL = Option(name="local", kind=kinds.SWITCH, flag_only=True, help="on this host, and on what it fetches through (the default)")
SUPERNODE_ONLY = Option(
    name="supernode-only", kind=kinds.SWITCH, flag_only=True, help="only the supernode reads it; nothing comes to this host"
)

_HEADER = Option(name="header", kind=kinds.TEXT, repeatable=True, planned=True, help="sent to origins")
_FILTER_QUERY = Option(name="filter-query", kind=kinds.TEXT, planned=True, help="query parameters that do not tell content apart")
_PLANNED = tuple(
    Option(name=name, kind=kinds.TEXT, planned=True, help="comes later")
    for name in ("token-file", "tls-cert", "tls-key", "tls-ca", "metrics", "mirror-listen", "mirror-registry")
)

#: These say how to fetch: ``get`` with one of them on its command line does not ask a daemon, which was told otherwise.
OWN_FETCH: tuple[Option[Any], ...] = (
    SUPERNODES, RESOLVER, CACHE, CACHE_LIMIT, VERIFY, NO_ORIGIN, ALLOW_ORIGIN, ORIGIN_CA, PIECE_SIZE,
)  # fmt: skip
_SOURCES: tuple[Option[Any], ...] = (*OWN_FETCH, RUNTIME_DIR, CONFIG, RATE_LIMIT)
MOUNT_OPTIONS: tuple[Option[Any], ...] = (
    *_SOURCES, _HEADER, LOG_LEVEL, LISTEN, ADVERTISE, CONSISTENCY, LOCATION, INSECURE, DEADLINE, UMASK, ALLOW_OTHER, FOREGROUND,
    READY_PIPE, *_PLANNED,
)  # fmt: skip
GET_OPTIONS: tuple[Option[Any], ...] = (*_SOURCES, _HEADER, QUIET_LOG_LEVEL, OUTPUT, SHA256, TIMEOUT, _FILTER_QUERY)
WARM_OPTIONS: tuple[Option[Any], ...] = (*_SOURCES, QUIET_LOG_LEVEL, LOCAL, SUPERNODE_ONLY)
LIMIT_OPTIONS: tuple[Option[Any], ...] = (RECEIVE, SEND, RUNTIME_DIR, CONFIG)
STATUS_OPTIONS: tuple[Option[Any], ...] = (JSON, RUNTIME_DIR, CONFIG)
UMOUNT_OPTIONS: tuple[Option[Any], ...] = (RUNTIME_DIR, CONFIG)
CACHE_OPTIONS: tuple[Option[Any], ...] = (CACHE, JSON, RUNTIME_DIR, CONFIG)
CACHE_GC_OPTIONS: tuple[Option[Any], ...] = (TO, CACHE_LIMIT, *CACHE_OPTIONS)
PATH_OPTIONS: tuple[Option[Any], ...] = (CONFIG,)
#: What ``flyfs.toml`` may hold: one file serves all commands.
FILE_OPTIONS: tuple[Option[Any], ...] = (*MOUNT_OPTIONS, *GET_OPTIONS, *STATUS_OPTIONS, *CACHE_GC_OPTIONS)
