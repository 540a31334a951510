"""The VM harness is a package at the top of the tree, which is not on the import path of the tests by itself."""

import sys
from pathlib import Path

TOP = str(Path(__file__).resolve().parents[3])
if TOP not in sys.path:
    sys.path.append(TOP)
