"""CRC-32C (Castagnoli), the checksum of record batches and of small state files."""

from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Final, cast


def _load_crc32c() -> Callable[..., int]:
    # Importing the package `crc32c` runs its __init__, which reads its own version through importlib.metadata
    # and builds its command line (argparse, zipfile, email): 30 to 45 ms that no broker needs at start.
    # Its extension module, loaded by itself, costs 0.3 ms.
    package = PathFinder.find_spec("crc32c")
    locations = package.submodule_search_locations if package is not None else None
    extension = PathFinder.find_spec("_crc32c", locations) if locations is not None else None
    if extension is None or extension.loader is None:
        # A layout we do not know: the slow way, which also says what is missing.
        from crc32c import crc32c as function
    else:
        module = extension.loader.create_module(extension)
        assert module is not None
        extension.loader.exec_module(module)
        function = module.crc32c
    return cast(Callable[..., int], function)


crc32c: Final = _load_crc32c()
"""CRC-32C (Castagnoli) of a bytes-like object: `crc32c(data, value=0) -> int`."""
