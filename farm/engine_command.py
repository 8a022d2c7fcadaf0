"""The engine's command line for a farm's worker, wherever the worker starts it.

ENGINE_PYTHON farm/engine_command.py farm step invert --job DIR --batches 0-7
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tokenflow_engine.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
