"""Where the public sample resources are, for tests that are made from their file names.

They belong to others and are no part of the project: a checkout without them has nothing to compare with, everything else
is tested on generated data.
"""

import os
from pathlib import Path

import pytest

SAMPLES = Path(os.environ.get("BCDA_SAMPLES") or Path(__file__).resolve().parents[3] / "shared" / "samples")

_MISSING = f"no public samples in {SAMPLES}; set BCDA_SAMPLES to their folder"

needed = [
    pytest.mark.samples,
    # An empty folder would let tests over all its files pass without a look at any.
    pytest.mark.skipif(not any(SAMPLES.glob("v?/ndjson/*.ndjson")), reason=_MISSING),
]
