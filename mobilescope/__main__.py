"""Start the command line: `mobilescope`, or `python -m mobilescope`."""

from __future__ import annotations

import sys

from mobilescope.app.terminal.interrupts import hear_interrupts


def main() -> None:
    """Load the command line and run it; Ctrl-C before a command begins ends as quietly as it does later."""
    try:
        hear_interrupts()
        from mobilescope.app.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
