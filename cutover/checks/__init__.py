"""The checks, one a file.

In a wheel they lie beside this file; in a source tree they are the repository's top-level ``checks/``.
"""

from pathlib import Path

_here = Path(__file__).resolve().parent
_source_tree = _here.parent.parent / "checks"
if not (_here / "dns").is_dir() and (_source_tree / "dns").is_dir():
    __path__.append(str(_source_tree))
