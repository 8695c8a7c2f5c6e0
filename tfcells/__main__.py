"""`python -m tfcells` is `tfcells`."""

import sys

from tfcells.cli.main import main

sys.exit(main())
