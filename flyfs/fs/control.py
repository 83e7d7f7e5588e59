"""The control tree ``.fly/``: names, and the text that each shows at one moment. Pure but for the figures it is given."""

import json

from flyfs.fs.figures import Figures
from flyfs.fs.inodes import NodeKind

CONTROL_NAME = ".fly"
STATUS_NAME = "status.json"
SUPERNODES_NAME = "supernodes"
PEERS_NAME = "peers"

CONTROL_NAMES: dict[str, NodeKind] = {
    STATUS_NAME: NodeKind.CONTROL_FILE,
    SUPERNODES_NAME: NodeKind.CONTROL_FILE,
    PEERS_NAME: NodeKind.CONTROL_FILE,
    "layers": NodeKind.CONTROL_DIRECTORY,
}


def rendered(name: str, figures: Figures) -> bytes:
    """What a control file says now.

    Raises:
        KeyError: there is no such control file.
    """
    if name == STATUS_NAME:
        return (json.dumps(figures.status(), indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")
    lines = {SUPERNODES_NAME: figures.supernodes, PEERS_NAME: figures.peers}[name]()
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
