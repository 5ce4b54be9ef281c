"""`python -m compat [--only NAMES] [--smoke]`: see `compat.command`."""

import sys

from compat.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
