"""`python -m bench` from the top of the tree: the same as bench/run.py."""

from __future__ import annotations

from bench.cli import main

raise SystemExit(main())
