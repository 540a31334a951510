"""Run the benchmark as a file: puts the top of the tree in front of the import path and starts the package."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)
runpy.run_module("bench", run_name="__main__")
