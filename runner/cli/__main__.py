"""``python -m goodshot.runner.cli``: the command line without the installed script."""

import sys

from goodshot.runner.cli import main

sys.exit(main())
