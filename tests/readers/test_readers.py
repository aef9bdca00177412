"""The published file in DuckDB 1.1, 1.4, 1.5 and 2.0: every view, beside another file, and after a killed writer."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rawfiles import load
from reader_environments import OWN, environment
from test_warehouse import EOB, LATER, claim

from bcda.storage.publication import Publication
from bcda.warehouse import publish

pytestmark = pytest.mark.readers

HERE = Path(__file__).parent
OLD = "duckdb-1.1.3"
RELEASES = ["duckdb-1.4.5", "duckdb-1.5.6", OWN]
PAIRS = [(OLD, "v1.1.0"), *((release, storage) for release in RELEASES for storage in ("v1.1.0", "v1.4.0"))]


def ask(release, files, *, use=None, key=None):
    """Return the answer of every view of every file, in one release of DuckDB."""
    given = json.dumps({"files": {name: str(path) for name, path in files.items()}, "use": use, "key": key})
    done = subprocess.run(
        [environment(release), HERE / "asking.py", given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def said_of(answers, name):
    return {what.removeprefix(f"{name} "): said for what, said in answers.items() if what.startswith(f"{name} ")}


@pytest.fixture(scope="session")
def expected(published):
    """What each file answers when it is opened alone, by the DuckDB that wrote it."""
    one, two = (said_of(ask(OWN, {"bcda": it.published}, use="bcda"), "bcda") for it in published("v1.4.0"))
    assert not [view for view, said in (one | two).items() if isinstance(said, str)]
    assert one["main.claim_current"] != two["main.claim_current"]
    assert one["cclf.cclf5"][0]
    return {"one": one, "two": two}


@pytest.mark.parametrize(("release", "storage"), PAIRS)
@pytest.mark.parametrize("use", [None, "one", "two"])
def test_every_view_reads_its_own_file_beside_another(release, storage, use, published, expected):
    if release == OLD and use is None:
        pytest.skip(
            "before 1.4, DuckDB looks up a view's tables in the current database only: the file must be the current one"
        )
    one, two = published(storage)
    answers = ask(release, {"one": one.published, "two": two.published}, use=use)
    for name in ("one", "two"):
        if release != OLD or name == use:
            assert said_of(answers, name) == expected[name]


def test_an_encrypted_file_opens_with_its_key_in_the_release_that_wrote_it(encrypted):
    answers = ask(OWN, {"bcda": encrypted.published}, use="bcda", key=encrypted.key.text)
    assert not {view: said for view, said in answers.items() if isinstance(said, str)}
    assert answers["bcda main.claim_current"][0]


def read_encrypted(release, encrypted):
    """Return the number of current claims, or the last line of the error."""
    attach = f"ATTACH '{encrypted.published}' AS bcda (READ_ONLY, ENCRYPTION_KEY '{encrypted.key.text}')"
    count = "SELECT count(*) FROM bcda.main.claim_current"
    code = f"import duckdb; c = duckdb.connect(); c.execute({attach!r}); print(c.execute({count!r}).fetchall()[0][0])"
    done = subprocess.run([environment(release), "-c", code], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[-1]


def test_an_encrypted_file_opens_in_1_5_and_not_in_1_4(encrypted):
    claims = read_encrypted(OWN, encrypted)
    assert int(claims)
    assert read_encrypted("duckdb-1.5.6", encrypted) == claims
    # Docs say so: when a later 1.4 opens it, they must say something else.
    # Either message comes, from one file to the next: 1.4 cannot make sense of the header.
    refused = read_encrypted("duckdb-1.4.5", encrypted)
    assert any(said in refused for said in ("Wrong encryption key", "storage page for migration strategy"))


def test_the_default_storage_version_is_refused_by_an_older_release(published):
    one, _ = published("v1.4.0")
    done = subprocess.run(
        [environment(OLD), "-c", f"import duckdb; duckdb.connect({str(one.published)!r}, read_only=True)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "The database file was created with an newer version of DuckDB" in done.stderr


class Writer:
    """An analyst's tool of another release that has the published file open for writing."""

    def __init__(self, release, path):
        self.process = subprocess.Popen(
            [environment(release), HERE / "writing.py", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "open\n"

    def execute(self, statement):
        self.process.stdin.write(f"{statement}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def first(places, request):
    """A published file with two claims, beside which nothing keeps a log from being written."""

    def with_storage(storage):
        here = replace(places, publication=Publication(storage=storage))
        load(here, [(EOB, claim(1) + claim(2))])
        publish(here)
        log = here.published.with_name("bcda.duckdb.wal")
        log.unlink()
        return here, log

    return with_storage


def publish_five(here):
    load(here, [(EOB, claim(3) + claim(4) + claim(5))], run_id="r2", transaction_time=LATER)
    publish(here)


def sum_paid(release, path):
    code = f"import duckdb; c = duckdb.connect({str(path)!r}, read_only=True); print(c.sql('SELECT count(*), sum(paid_amount) FROM claim_current').fetchall()[0])"
    return subprocess.run([environment(release), "-c", code], capture_output=True, text=True, check=True).stdout


FIVE = "(5, Decimal('51.25'))\n"


@pytest.mark.parametrize(("release", "storage"), PAIRS)
def test_sums_are_right_after_a_writer_that_was_killed_before_the_publication(release, storage, first):
    here, log = first(storage)
    writer = Writer(release, here.published)
    assert writer.execute("DELETE FROM claim") == "written"
    writer.kill()
    assert log.stat().st_size
    publish_five(here)
    assert sum_paid(release, here.published) == sum_paid(OWN, here.published) == FIVE


@pytest.mark.parametrize(("release", "storage"), PAIRS)
@pytest.mark.parametrize("writes_before", [False, True])
def test_sums_are_right_after_a_writer_that_opened_before_and_was_killed_after_it(
    release, storage, writes_before, first
):
    here, _ = first(storage)
    writer = Writer(release, here.published)
    if writes_before:
        assert writer.execute("DELETE FROM claim WHERE claim_id = 'carrier-1'") == "written"
    publish_five(here)
    assert writer.execute("DELETE FROM claim") == ("written" if writes_before else "refused")
    writer.kill()
    assert sum_paid(release, here.published) == sum_paid(OWN, here.published) == FIVE


@pytest.mark.parametrize(("release", "storage"), [(OLD, "v1.1.0"), ("duckdb-1.4.5", "v1.1.0")])
def test_a_plain_rename_would_have_lost_the_new_claims(release, storage, first):
    here, _ = first(storage)
    old = here.published.read_bytes()
    writer = Writer(release, here.published)
    writer.execute("DELETE FROM claim")
    writer.kill()
    log = here.published.with_name("bcda.duckdb.wal").read_bytes()
    publish_five(here)
    plain = here.published.parent / "plain"
    plain.mkdir()
    (plain / "bcda.duckdb").write_bytes(here.published.read_bytes())
    (plain / "bcda.duckdb.wal").write_bytes(log)
    assert old != here.published.read_bytes()
    assert sum_paid(release, plain / "bcda.duckdb") != FIVE
    assert os.path.lexists(here.published.with_name("bcda.duckdb.wal"))
