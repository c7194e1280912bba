"""``python -m runner.cli``: the command line without the installed script."""

import sys

from runner.cli import main

sys.exit(main())
