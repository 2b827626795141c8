"""`python -m raat_core`: one cell by hand, without Snakemake."""

import sys

from raat_core.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
