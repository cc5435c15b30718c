"""python -m legal_tasks.tracking: see the package."""

import sys

from legal_tasks.tracking.commands import main

if __name__ == "__main__":
    sys.exit(main())
