"""Dispatcher of ``python -m adaptlearn.benchmark``."""

import sys

from . import main

sys.exit(main())
