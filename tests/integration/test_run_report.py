"""The run report of exports that really ran, against the simulated world and the tables themselves."""

import asyncio
import gzip
import hashlib
import html
import json
import re
import stat
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import duckdb
import pytest
from canaries import canaries, leaks
from plain_export import fetch, planned, run_export

from bcda import export
from bcda.api.export_request import Scope
from bcda.errors import DataQualityError, InvalidRequestError, StorageError
from bcda.reporting import run_report
from bcda.reporting.run_report import document_of, read_facts, write_report
from bcda.reporting.run_report.phases import phases_of
from bcda.reporting.run_report.rendering import as_html, as_text
from bcda.settings import ConnectionSettings, Tuning
from bcda.storage.places import Places
from bcda.storage.store_address import StoreAddress
from bcda.warehouse import open_warehouse
from bcda_simulator import Fault, FaultKind, SimulatorServer
from bcda_simulator.world import World

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
PEOPLE = 60
FAST = Tuning(poll_seconds=0.05, poll_max_seconds=0.1)
COUNTED = (
    "SELECT claim_id, patient_id, date_trunc('month', service_thru)::DATE, coalesce(paid_amount, 0) FROM claim_current"
)


def counted(places):
    with duckdb.connect(str(places.published), read_only=True) as connection:
        return {row[0]: row[1:] for row in connection.execute(COUNTED).fetchall()}


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = Counter(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]


@pytest.fixture(scope="module")
def weeks(tmp_path_factory):
    """Two weekly runs: places, world, server, run ids, and the claims that count after each."""
    places = Places.below(tmp_path_factory.mktemp("weeks") / "home")
    world = World(people=PEOPLE, seed=3, history_weeks=20)
    start = datetime(2026, 11, 10, 12, tzinfo=UTC)
    with SimulatorServer(world, start=start) as server:
        entity = server.entity
        settings = ConnectionSettings(server.base_url, entity.client_id, entity.client_secret, tuning=FAST)
        runs, states, truths = [], [], []
        for weeks_later in (0, 2):
            server.clock.set(start + timedelta(weeks=weeks_later))
            runs.append(run_export(settings, places).run_id)
            states.append(counted(places))
            now = server.clock.now()
            # What is older than its history is not in the world any more, but in the tables.
            whole = World(people=PEOPLE, seed=3, history_weeks=20 + weeks_later)
            truths.append(whole.expected(now, people=world.attribution_lists("A9999", "all", now)[-1].people))
        yield places, world, server, runs, states, truths


@pytest.mark.complete
def test_the_numbers_are_those_of_the_world(weeks):
    places, _, _, runs, states, truths = weeks
    first, second = (read_facts(places, run_id) for run_id in runs)
    assert first.is_published
    for facts, before, after, was, truth in (
        (first, {}, states[0], None, truths[0]),
        (second, states[0], states[1], truths[0], truths[1]),
    ):
        new, gone = after.keys() - before.keys(), before.keys() - after.keys()
        by_kind = {row["change"]: row for row in facts.changes if row["grouped_by"] == "change"}
        assert by_kind["new"]["claims"] == len(new)
        assert by_kind["new"]["people"] == len({after[claim][0] for claim in new})
        assert by_kind.get("ended", {"claims": 0})["claims"] == len(gone)
        moved = Counter()
        for state, sign in ((before, -1), (after, 1)):
            for _, month, paid in state.values():
                moved[month] += sign * paid
        told = {row["service_month"]: row["moved"] for row in facts.months}
        assert {m: v for m, v in told.items() if v} == {m: v for m, v in moved.items() if v}
        in_all = sum(truth.paid.values()) - (sum(was.paid.values()) if was else 0)
        assert sum(told.values()) == in_all != 0
        assert sum(row["lines"] for row in facts.received) == facts.run["rows_landed"]
    assert any(row["change"] == "ended" for row in second.changes)
    assert second.asks_from == second.run["transaction_time"]


@pytest.mark.complete
def test_the_text_says_what_was_asked_came_and_changed(weeks):
    places, _, _, runs, states, _ = weeks
    written = write_report(places, runs[1], now=NOW)
    new = states[1].keys() - states[0].keys()
    text = written.text.read_text()
    assert f"{len(new):,} new claims" in written.headline
    assert written.headline.startswith("v2, since 2")
    for said in (
        written.headline,
        "Loaded, checked and published.",
        "Checks: ",
        "Time: ",
        "The next run asks for changes",
    ):
        assert said in text
    assert len(text) < 2000
    page = written.html.read_text()
    for section in ("Next steps", "What changed", "What came", "What is missing", "Quality", "What was asked", "Time"):
        assert section in page
    for name in ("Patient", "Coverage", "ExplanationOfBenefit"):
        assert f'<th scope="row">{name}</th>' in page


@pytest.mark.parametrize("address", ["https://airflow.example.org/bcda/?source=a&run=b", "/bcda/?source=a&run=b", ""])
def test_a_report_links_back_to_the_page_and_its_text_only_with_a_whole_address(weeks, address):
    places, _, _, runs, _, _ = weeks
    written = write_report(places, runs[1], now=NOW, page=address)
    link = f'<a href="{address.replace("&", "&amp;")}">This run on the BCDA page</a>'
    assert (link in written.html.read_text()) is bool(address)
    assert (f"Page: {address}\n" in written.text.read_text()) is address.startswith("https:")


def test_the_page_loads_and_runs_nothing_and_is_private(weeks):
    places, _, _, runs, _, _ = weeks
    written = write_report(places, runs[0], now=NOW)
    for path in (written.html, written.text):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.html.parent.stat().st_mode) == 0o700
    page = written.html.read_text()
    assert written.html.stat().st_size < 200_000
    found = Tags(page)
    assert not found.tags.keys() & {"script", "link", "img", "iframe", "object", "form", "base"}
    loading = {"src", "href", "action", "data", "srcset"}
    assert [entry for entry in found.attributes if entry[1] in loading or entry[1].startswith("on")] == []
    assert "url(" not in page
    assert "@import" not in page
    assert found.tags["table"] == found.tags["caption"] > 3
    assert ("html", "lang", "en") in found.attributes
    assert found.tags["th"] == sum(name == "scope" for _, name, _ in found.attributes)
    assert (found.tags["h1"], found.tags["svg"]) == (1, 1)


def test_nobody_is_in_it(weeks):
    places, world, server, runs, _, _ = weeks
    wanted = canaries(world, server, PEOPLE)
    texts = [path.read_text() for run_id in runs for path in written_files(places, run_id)]
    assert leaks(texts, wanted) == []
    # The search finds what is there to be found.
    assert leaks([texts[0] + wanted[5]], wanted) == [wanted[5]]


def written_files(places, run_id):
    written = write_report(places, run_id, now=NOW)
    return written.html, written.text


def test_cells_of_few_people_are_withheld(weeks):
    places, _, _, runs, _, _ = weeks
    facts = read_facts(places, runs[1])
    document = document_of(facts, now=NOW)
    few = [
        row
        for row in facts.changes
        if row["grouped_by"] == "claim type" and row["change"] == "new" and row["people"] < 11
    ]
    assert few
    (by_type,) = [table for table in document.changes if "by type" in table.caption]
    for row in few:
        assert next(cells[1] for cells in by_type.rows if cells[0] == row["claim_type"]) == "withheld"
    (months,) = [table for table in document.changes if "month" in table.caption]
    shown = {cells[0] for cells in months.rows}
    for row in facts.months:
        assert (f"{row['service_month']:%Y-%m}" in shown) <= (row["people"] >= 11)
    assert len(document.bars) < len(facts.months)


def test_phases_add_up_to_the_whole_and_are_not_told_from_copies(weeks):
    places, _, _, runs, _, _ = weeks
    facts = read_facts(places, runs[1])
    assert [phase.name.split()[0].rstrip(",") for phase in facts.phases] == [
        "Preparation",
        "Fetching",
        "Landing",
        "Waiting",
        "Merging",
    ]
    loaded = datetime.fromtimestamp(places.published.stat().st_mtime, UTC) - facts.run["started_at"]
    assert sum((phase.took for phase in facts.phases), timedelta()) == loaded
    shared = replace(places, store=StoreAddress.from_text("s3://bucket/prefix"))
    assert [phase.name.split(",")[0] for phase in phases_of(shared, facts.run)] == ["Preparation", "Merging"]
    # Of an older run nobody knows when it was published.
    assert read_facts(places, runs[0]).phases[-1].name == "Waiting to be merged"


def test_no_count_of_few_people_is_in_any_cell_or_sentence(weeks):
    places, _, _, runs, _, _ = weeks
    facts = read_facts(places, runs[0])
    seven = {
        "received": [
            {**row, "files": 2, "lines": 7, "landed": 7} for row in facts.received if row["resource_type"] == "Patient"
        ],
        "gaps": [
            {
                "resource_type": "Coverage",
                "opened": 7,
                "closed": 7,
                "open": 7,
                "given_up": 7,
                "is_unnamed": False,
                "closes": True,
            }
        ],
        "roster": {"list_at": NOW, "previous_list_at": NOW, "joined": 7, "left": 7, "stayed": 7},
        "checks": [
            {
                "check_id": "c",
                "scope": "",
                "severity": "error",
                "rows_checked": 90,
                "rows_failed": 7,
                "detail": "d",
                "is_of_few": False,
            }
        ],
        "changes": [
            {
                "grouped_by": by,
                "change": "ended",
                "superseded_reason": "cancelled",
                "claim_type": "SNF",
                "claims": 7,
                "people": 7,
                "moved": 7,
            }
            for by in ("change", "reason", "claim type")
        ],
        "months": [
            {"service_month": NOW.date(), "claims": 7, "people": 7, "paid_before": 7, "paid_now": 0, "moved": -7}
        ],
    }
    document = document_of(replace(facts, **seven), now=NOW)
    tables = [document.received, document.gaps, document.failed, *document.changes]
    assert (
        len(
            [
                cell
                for table in tables
                for row in table.rows
                for cell in row
                if cell.startswith("fewer than 11") or cell == "withheld"
            ]
        )
        >= 8
    )
    cells = [cell for table in tables for row in table.rows for cell in row]
    sentences = [document.headline, *document.roster, *document.claims, *document.next_steps]
    assert [text for text in [*cells, *sentences] if "7" in re.findall(r"[\d.]+", text) or "$7" in text] == []
    assert document.bars == ()


@pytest.mark.complete
def test_the_command_writes_it_again(weeks):
    places, _, _, runs, _, _ = weeks
    page, text = run_report.report_paths(places, runs[0])
    for path in (page, text):
        path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bcda", "report"]
    environment = {"BCDA_HOME": str(places.raw.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*command, runs[0]], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(text.read_text())
    assert str(page) in done.stdout
    refused = subprocess.run([*command, "nothing"], env=environment, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "No run nothing is in the ledger" in refused.stderr


def test_a_run_that_is_not_there_or_leaves_the_folder_is_refused(weeks, places):
    for home, run_id in ((weeks[0], "no-run"), (weeks[0], "../x"), (places, "no-run")):
        with pytest.raises(InvalidRequestError):
            write_report(home, run_id, now=NOW)
    assert not places.reports.exists()


def test_a_folder_that_cannot_be_written_is_said(weeks, tmp_path):
    places, runs = weeks[0], weeks[3]
    (tmp_path / "reports").write_text("a file where the folder should be")
    (tmp_path / "bcda.duckdb").symlink_to(places.published)
    with pytest.raises(StorageError, match="Cannot"):
        write_report(replace(places, published=tmp_path / "bcda.duckdb"), runs[0], now=NOW)


def test_a_list_tells_who_joined_and_left(serve, settings_for, places):
    world = World(people=250, seed=12, history_weeks=1)
    server = serve(world, start=datetime(2026, 3, 12, 12, tzinfo=UTC))
    settings = settings_for(server)
    roster = {"scope": Scope.GROUP_ALL, "resource_types": ("Patient",), "full": True, "force": True}
    first = run_export(settings, places, **roster).run_id
    before = set(world.attribution_lists("A9999", "all", server.clock.now())[-1].people)
    server.clock.set(datetime(2026, 11, 12, 12, tzinfo=UTC))
    second = run_export(settings, places, **roster).run_id
    after = set(world.attribution_lists("A9999", "all", server.clock.now())[-1].people)
    assert read_facts(places, first).roster is None
    facts = read_facts(places, second)
    numbers = {"joined": len(after - before), "left": len(before - after), "stayed": len(after & before)}
    assert {name: facts.roster[name] for name in numbers} == numbers
    document = document_of(facts, now=NOW)
    assert "No claim changed." not in document.claims
    assert min(numbers.values()) < 11
    assert "who joined, left, and stayed is withheld" in document.roster[0]
    shown = document_of(replace(facts, roster={**facts.roster, **dict.fromkeys(numbers, 12)}), now=NOW)
    assert all(f"12 {name}" in shown.roster[0] for name in numbers)


@pytest.mark.complete
def test_gaps_bad_lines_suspect_claims_and_failed_checks_are_told_with_what_to_do(serve, settings_for, places):
    world = World(people=40, seed=3, history_weeks=2)
    faults = [Fault(FaultKind.PEOPLE_FAIL, people=tuple(range(20)), resource_type="ExplanationOfBenefit")]
    faults.append(Fault(FaultKind.FLAWED_CLAIM, text="no payment"))
    server = serve(world, faults=faults)
    settings = settings_for(server)
    run = planned(settings, places)
    batches = asyncio.run(fetch(settings, places, run.run_id))
    spoil(places.run_folder(run.run_id))
    for batch in batches:
        export.land_batch(places, run.run_id, batch, 2)
    export.merge(places, run.run_id, 2, now=datetime.now(UTC))
    with open_warehouse(places.warehouse) as connection:
        connection.execute("INSERT INTO ops.export_count SELECT * REPLACE (99 AS lines) FROM ops.export_count LIMIT 1")
    with pytest.raises(DataQualityError, match="ledger_counts"):
        export.publish(places)
    facts = read_facts(places, run.run_id)
    assert not facts.is_published
    told = {gap["resource_type"]: (gap["opened"], gap["open"], gap["is_unnamed"]) for gap in facts.gaps}
    assert told == {"ExplanationOfBenefit": (20, 20, False), "Patient": (0, 0, True)}
    document = document_of(facts, now=NOW)
    assert "not published" in document.state
    assert not document.is_well
    assert document.gaps.rows[0] == ("ExplanationOfBenefit", "20", "0", "20", "0", "no")
    assert document.quarantined.rows == (("Patient", "not JSON", "withheld"),)
    levels = {row[0].partition(" ")[0]: row[1] for row in document.failed.rows}
    assert (levels["ledger_counts"], levels["retrieval_gaps"], levels["amount_missing"]) == (
        "error",
        "warning",
        "warning",
    )
    steps = " ".join(document.next_steps)
    told = (
        "the published database stays as it was",
        "The next run requests it again",
        "ops.quarantine",
        "ops.suspect_claim",
    )
    for said in told:
        assert said in steps
    assert "Nothing to do." not in steps
    assert leaks((path.read_text() for path in written_files(places, run.run_id)), canaries(world, server, 40)) == []
    with open_warehouse(places.warehouse) as connection:
        connection.execute("DELETE FROM ops.export_count WHERE lines = 99")
    export.publish(places)
    document = document_of(read_facts(places, run.run_id), now=NOW)
    assert document.state == "Loaded, checked and published."
    assert "level error" not in " ".join(document.next_steps)


def test_a_check_that_failed_until_a_later_publication_is_told_as_over(weeks):
    places, _, _, runs, _, _ = weeks
    failed = {
        "check_id": "row_keys",
        "scope": "claim",
        "severity": "error",
        "rows_checked": 9,
        "rows_failed": 2,
        "detail": "d",
        "is_of_few": False,
    }
    facts = replace(read_facts(places, runs[0]), checks=[failed], gaps=[])
    document = document_of(facts, now=NOW)
    assert (document.state, document.is_well) == ("Loaded, checked and published.", True)
    assert "Their cause is gone, and everything is published." in " ".join(document.next_steps)
    waiting = document_of(replace(facts, is_published=False), now=NOW)
    assert "Until then the published database stays as it was" in " ".join(waiting.next_steps)


GAP = {
    "resource_type": "Coverage",
    "opened": 0,
    "closed": 0,
    "open": 0,
    "given_up": 0,
    "is_unnamed": False,
    "closes": False,
}


@pytest.mark.parametrize(
    ("gap", "missing", "step"),
    [
        (
            {"open": 12},
            "Some people's data is missing for some time.",
            "The next run requests it again, for these types only",
        ),
        ({"given_up": 12}, "Some people's data is missing for some time.", "trigger the export with `gaps`"),
        ({"is_unnamed": True}, "Some people's data is missing for some time.", "nothing says whose"),
        ({"closed": 12, "closes": True}, "Nothing is known to be missing; this run closed the last gaps.", ""),
        ({"opened": 12}, "Nothing is known to be missing.", ""),
    ],
    ids=["open", "given up", "unnamed", "closed", "opened and closed since"],
)
def test_the_report_says_whether_something_is_missing_now(weeks, gap, missing, step):
    places, _, _, runs, _, _ = weeks
    facts = replace(read_facts(places, runs[1]), gaps=[{**GAP, **gap}], checks=[])
    document = document_of(facts, now=NOW)
    assert document.missing == missing
    assert document.is_well == missing.startswith("Nothing")
    assert f"Missing: {missing}" in as_text(document)
    assert f"<p>{missing}</p>" in html.unescape(as_html(document))
    assert step in " ".join(document.next_steps)


@pytest.mark.parametrize(("leaves", "said"), [(False, False), (True, True)])
def test_only_a_filter_that_leaves_claims_out_is_told(weeks, leaves, said):
    places, _, _, runs, _, _ = weeks
    facts = read_facts(places, runs[1])
    # Every run of v3 has a filter, which names the systems.
    document = document_of(replace(facts, run={**facts.run, "type_filter": "{}", "leaves_claims_out": leaves}), now=NOW)
    assert ("left claims out" in " ".join(document.next_steps)) is said
    assert ("were left out" in dict(document.asked)["Filter"]) is said


def spoil(folder):
    """Make one line of a raw file no JSON, with the receipt that such a file would have had."""
    raw = next(iter(sorted(folder.glob("*-Patient.ndjson.gz"))))
    lines = gzip.decompress(raw.read_bytes()).splitlines(keepends=True)
    content = b"".join([b'{"id": "cut\n', *lines[1:]])
    wire = gzip.compress(content)
    raw.write_bytes(wire)
    path = folder / f"{raw.name}.receipt.json"
    receipt = json.loads(path.read_text())
    receipt |= {"wire_bytes": len(wire), "wire_sha256": hashlib.sha256(wire).hexdigest(), "content_bytes": len(content)}
    path.write_text(json.dumps(receipt))
