"""The command `groundglass`, and `python -m groundglass`."""

import sys

from groundglass.core.imported import MissingLibraryError


def main() -> int:
    """See `groundglass.cli.main`; without what the command line needs, a line that says what to install, and 1."""
    try:
        from groundglass.cli.main import main as command
    except MissingLibraryError as error:
        print(f"groundglass: {error}", file=sys.stderr)
        return 1
    return command()


if __name__ == "__main__":
    sys.exit(main())
