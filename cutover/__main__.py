"""``cutover`` and ``python -m cutover``: a Ctrl-C that comes while Python still imports is no traceback either."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    try:
        from cutover.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("cutover: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
