"""The fault matrix in the phases of files: every row against a real server."""

import pytest
from fault_proof import prove, rows


@pytest.mark.parametrize("row", rows(of_files=True))
def test_fault(row, loaded, tmp_path, caplog, capfd, short_lock_wait):
    prove(row, loaded, tmp_path, caplog, capfd)
