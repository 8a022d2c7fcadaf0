"""`python -m tokenflow_engine`, the engine's command line."""

import sys

from .command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
