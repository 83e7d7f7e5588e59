"""Where a host is: ``region|zone|rack``, any prefix of it, empty for not told. Pure."""


def region_of(location: str) -> str:
    """The first label."""
    return location.partition("|")[0]


def closeness(one: str, other: str) -> int:
    """How many labels two locations share, from the first on."""
    shared = 0
    for mine, theirs in zip(one.split("|"), other.split("|"), strict=False):
        if mine != theirs:
            break
        shared += 1
    return shared
