"""`python -m raat_sweep`: what a config will cost, its cells, its results; or generated files."""

import sys

from raat_sweep.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
