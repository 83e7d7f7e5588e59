"""Keeps the cyclic garbage collector off the loop's back. Shell: changes the interpreter's settings.

After the imports a full collection walks some 100,000 objects that never die: 10 to 20 ms, several times a minute under load,
where nothing on the loop may take more than 5 ms.
"""

import gc

_YOUNG_OBJECTS = 20_000
"""New objects before a young collection; the default of 700 collects several times per piece."""


def settle_heap() -> None:
    """Takes everything that exists now out of the collector's sight. To be called once, when a daemon is ready."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 10, 10)
