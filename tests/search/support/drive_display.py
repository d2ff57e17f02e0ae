"""Run one search in this process with the display of its standard error: `drive_display.py DIR`.

Its trials wait, before their third epoch, until `DIR.gate` is there.
"""

import sys
from pathlib import Path

from drive_here import gated
from searching import search_here

from dexsearch.search.displays import progress_for

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    search_here(folder, gated(folder.with_suffix(".gate")), progress=progress_for(), trials=2)
