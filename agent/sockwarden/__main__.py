"""``python -m sockwarden``."""

import sys

from sockwarden.cli.main import main

sys.exit(main())
