"""`python -m constrained_gpt.cli`."""

import sys

from . import main

sys.exit(main())
