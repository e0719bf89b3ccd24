"""Writing a page so that a reader never sees half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cutover.errors import CutoverError


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Put ``text`` in the place of ``path`` in one step.

    Raises:
        CutoverError: the folder cannot be written, or the disk is full; what was there stays.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)  # noqa: PTH101 - the path is the one mkstemp gave
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise CutoverError(f"{path}: cannot be written: {error.strerror}", "check the folder and the disk") from None
