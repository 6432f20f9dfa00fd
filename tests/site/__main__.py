"""Build the documentation site into .site/html: `python -m tests.site [-- options of zensical]`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.site.build import build

if __name__ == "__main__":
    sys.exit(build(Path(__file__).parents[2] / ".site"))
