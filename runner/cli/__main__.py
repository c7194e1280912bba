"""``python -m runner.cli``: the command without its script."""

import sys

from runner.cli import main

sys.exit(main())
