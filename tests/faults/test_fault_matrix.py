"""The fault matrix in all phases but those of files: every row against a real server."""

import logging

import arrangements
import pytest
from canaries import canaries, leaks, texts_of, texts_of_records
from fault_proof import prove, rows
from matrix import ROWS

from bcda_simulator import SimulatorServer


@pytest.mark.parametrize("row", rows(of_files=False))
def test_fault(row, loaded, tmp_path, caplog, capfd, short_lock_wait):
    prove(row, loaded, tmp_path, caplog, capfd)


def test_the_number_of_cases_is_printed(capsys):
    with capsys.disabled():
        print(f"\nfault matrix: {len(ROWS)} cases")
    assert len({str(row) for row in ROWS}) == len(ROWS), "two rows have one name"


def test_a_planted_leak_is_found(caplog):
    with SimulatorServer(arrangements.world(), start=arrangements.START) as server:
        wanted = canaries(arrangements.world(), server, arrangements.PEOPLE)
    assert len(wanted) > 3 * arrangements.PEOPLE
    for canary in wanted:
        caplog.clear()
        logging.getLogger("bcda.somewhere").warning("cannot read %s", f"x{canary}y")
        assert leaks(texts_of_records(caplog.records), wanted) != []
        error = ValueError("outer")
        error.__cause__ = KeyError(f"{canary}")
        assert leaks(texts_of(error), wanted) != []
