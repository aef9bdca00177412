"""What the page shows: sums that are true, nothing of few people, intervals without their breaks, runs in their phases."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from plain_export import TYPES, fetch, planned
from rawfiles import load
from worlds import at, export

from bcda import export as stages
from bcda import warehouse
from bcda.api.client import BcdaClient
from bcda.errors import TransientError, WarehouseError
from bcda.privacy.suppression import FEWEST_PEOPLE
from bcda.reporting import overview
from bcda.reporting.overview import RunPhase, kept, read_overview, read_progress
from bcda.reporting.overview.pictures import incomplete_months, pictures
from bcda.runs.run import Wait, note_wait
from bcda.storage.places import Places
from bcda_simulator.world import World

PEOPLE = [str(number) for number in range(40)]
WEEK = 70
WORLD = World(people=40, seed=11)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The places of a whole world, loaded and published once."""
    places = Places.below(tmp_path_factory.mktemp("whole"))
    load(places, export(WORLD, PEOPLE, week=WEEK), transaction_time=at(WEEK), run_id="whole")
    warehouse.publish(places)
    return places


@pytest.fixture
def loaded(places):
    """Load and publish some people of the world at some week."""

    def make(people, week=10, after=None):
        files = export(WORLD, people, week=week, after=after)
        since = at(after) if after else None
        load(places, files, transaction_time=at(week), run_id=f"w{week}", since=since)
        warehouse.publish(places)
        return read_overview(places)

    return make


def ask(places, sql):
    with duckdb.connect(str(places.published), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.complete
def test_payments_are_those_of_the_current_claims_and_none_of_few_people(whole):
    places, shown = whole, read_overview(whole)
    truth = {
        (month, kind): (people, float(paid))
        for month, kind, people, paid in ask(
            places,
            "SELECT date_trunc('month', service_thru)::DATE, claim_type, count(DISTINCT person_key), sum(paid_amount) "
            "FROM claim_current WHERE claim_type <> 'PDE' GROUP BY ALL",
        )
    }
    assert {row["people"] is None for row in shown.paid} == {True, False}
    for row in shown.paid:
        people, paid = truth[row["month"], row["claim_type"]]
        if people < FEWEST_PEOPLE:
            assert (row["people"], row["paid"]) == (None, None)
        elif row["paid"] is not None:
            assert (row["people"], row["paid"]) == (people, pytest.approx(paid))
    assert len({row["month"] for row in shown.paid}) <= 24


@pytest.mark.complete
def test_of_ten_people_no_number_is_shown(loaded):
    shown = loaded(PEOPLE[: FEWEST_PEOPLE - 1], WEEK)
    assert {row["people_on_list"] for row in shown.status} == {None}
    assert {row["people"] for row in [*shown.roster, *shown.lag, *shown.paid]} == {None}
    assert {row["paid"] for row in shown.paid} == {None}
    drawn = pictures(shown, at(WEEK + 1))
    assert set(drawn) == {"coverage"}


@pytest.mark.complete
def test_every_chart_is_drawn(whole):
    drawn = pictures(read_overview(whole), at(WEEK + 1))
    assert set(drawn) == {"coverage", "paid", "roster", "lag"}
    for sizes in drawn.values():
        assert all(svg.startswith("<svg") and 'role="img" aria-label="' in svg for svg in sizes.values())


@pytest.mark.complete
def test_a_run_that_brought_little_says_no_number_of_it(places, loaded):
    few, many = loaded(PEOPLE[:1]).runs[0], loaded(PEOPLE[:14], 11).runs[0]
    lines = dict(ask(places, "SELECT run_id, lines_read FROM ops.export_run"))
    assert 0 < lines[few["run_id"]] < FEWEST_PEOPLE <= lines[many["run_id"]]
    assert (few["lines"], few["has_quarantined"]) == (None, False)
    assert many["lines"] == lines[many["run_id"]]


@pytest.mark.complete
def test_who_joined_is_not_shown_when_few_left(places, loaded):
    after = PEOPLE[2:]
    loaded(PEOPLE[:20])
    shown = loaded(after, 19)
    changes = dict(ask(places, "SELECT change, count(*) FROM roster_change GROUP BY ALL"))
    assert changes["joined"] >= FEWEST_PEOPLE > changes["left"]
    newest, first = shown.roster
    assert (newest["joined"], newest["left"], newest["people"]) == (None, None, len(after))
    assert (first["has_list_before"], newest["has_list_before"]) == (False, True)


def test_the_lag_is_that_of_the_claims_and_says_which_months_are_incomplete(whole):
    places, shown = whole, read_overview(whole)
    over_all, *by_type = shown.lag
    assert over_all["claim_type"] is None
    assert over_all["claims"] == sum(row["claims"] for row in by_type if row["people"])
    few = [row for row in by_type if row["people"] is None]
    assert few
    assert {value for row in few for name, value in row.items() if name != "claim_type"} == {None}
    median = ask(
        places,
        f"SELECT quantile_cont(date_diff('day', service_thru, processed_date), 0.5) FROM claim_current "
        f"WHERE processed_date >= service_thru AND service_thru < TIMESTAMP '{at(WEEK):%Y-%m-%d %H:%M:%S}' - INTERVAL 3 MONTH "
        f"AND service_thru >= TIMESTAMP '{at(WEEK):%Y-%m-%d %H:%M:%S}' - INTERVAL 24 MONTH "
        f"AND claim_type IN {tuple(row['claim_type'] for row in by_type if row['people'])}",
    )
    assert over_all["median_days"] == median[0][0]
    newest = max(row["month"] for row in shown.paid)
    months = incomplete_months(shown)
    assert newest in months
    settled = (shown.covered_until - timedelta(days=over_all["slow_days"])).date()
    assert all(month < settled for month in {row["month"] for row in shown.paid} - set(months))


@pytest.mark.complete
def test_intervals_that_touch_are_one_bar_and_a_break_is_seen(loaded):
    for week, after in ((10, None), (11, 10), (14, 13)):
        shown = loaded(PEOPLE[:14], week, after)
    bars = [
        (row["since_ts"], row["until_ts"], row["runs"]) for row in shown.covered if row["resource_type"] == "Patient"
    ]
    assert bars == [(at(13), at(14), 1), (None, at(11), 2)]
    assert shown.covered_until == at(11)
    assert {"coverage", "roster"} <= set(pictures(shown, at(15)))


@pytest.mark.complete
def test_what_was_read_is_kept_until_the_next_load(places, loaded):
    first = loaded(PEOPLE[:2])
    assert read_overview(places) is first
    loaded(PEOPLE[:2], 11, 10)
    assert [run["run_id"] for run in read_overview(places).runs] == ["w11", "w10"]


@pytest.mark.complete
def test_what_is_kept_beside_the_database_is_what_was_read_and_is_only_of_that_database(places, loaded, monkeypatch):
    shown = loaded(PEOPLE[:14])
    overview.keep_overview(places)
    monkeypatch.setattr(kept, "_in_memory", {})
    with monkeypatch.context() as patch:
        patch.setattr(kept, "read_published", None)
        assert read_overview(places) == shown
    # The next load replaces the database: what was kept of the old one is not shown for it.
    assert [run["run_id"] for run in loaded(PEOPLE[:14], 11, 10).runs] == ["w11", "w10"]
    kept.overview_path(places).write_text("{")
    monkeypatch.setattr(kept, "_in_memory", {})
    with pytest.raises(WarehouseError, match="is damaged"):
        read_overview(places)


def test_before_the_first_load_there_is_nothing_and_a_strange_file_is_refused(places):
    assert read_overview(places) is None
    places.published.parent.mkdir(parents=True)
    with duckdb.connect(str(places.published)) as connection:
        connection.execute("CREATE TABLE other (a INTEGER)")
    with pytest.raises(WarehouseError, match="cannot be read"):
        read_overview(places)


def test_a_run_is_followed_through_its_phases(places, serve, settings_for):
    server = serve()
    settings = settings_for(server)
    run_id = planned(settings, places).run_id
    assert read_progress(places, run_id).phase is RunPhase.KICK_OFF
    until = datetime.now(UTC) + timedelta(hours=1)
    note_wait(places.run_folder(run_id), Wait("No list yet.", until))
    assert read_progress(places, run_id).wait == Wait("No list yet.", until)

    async def begin():
        async with BcdaClient(settings) as client:
            job = await stages.kick_off(client, places, run_id)
            assert read_progress(places, run_id).phase is RunPhase.WAIT
            while (await client.status(job.job_id)).manifest is None:
                await asyncio.sleep(0.05)
            await stages.save_manifest(client, places, run_id, job.job_id)
            await stages.fetch_batch(client, places, run_id, 0, 2)

    asyncio.run(begin())
    half = read_progress(places, run_id)
    assert (half.phase, half.run.request.resource_types) == (RunPhase.FETCH, TYPES)
    assert 0 < half.files_received < half.files
    assert half.bytes_received == sum(path.stat().st_size for path in places.run_folder(run_id).glob("*.gz"))
    asyncio.run(fetch(settings, places, run_id))
    assert read_progress(places, run_id).phase is RunPhase.LAND
    landed = [stages.land_batch(places, run_id, batch, 2) for batch in (0, 1)]
    done = read_progress(places, run_id)
    assert (done.phase, done.files_received) == (RunPhase.MERGE, done.files)
    assert done.lines_landed == sum(file.lines_read for batch in landed for file in batch.files)
    assert overview.read_progress(places, "20260101T000000Z-patient-v2-aaaaaa") is None


@pytest.fixture
def slow(loaded, places, monkeypatch):
    """Let each read of a published database end when it is told to; return the event for that, and how many began."""
    loaded(PEOPLE[:12])
    monkeypatch.setattr(kept, "_in_memory", {})
    read, begun, go = kept.read_published, threading.Semaphore(0), threading.Event()
    reads = []

    def slowly(of):
        reads.append(of)
        begun.release()
        assert go.wait(60)
        return read(of)

    monkeypatch.setattr(kept, "read_published", slowly)
    return begun, go, reads


@pytest.mark.complete
def test_many_first_looks_read_the_database_once(slow, places, monkeypatch):
    begun, go, reads = slow
    found = []
    looks = [threading.Thread(target=lambda: found.append(read_overview(places))) for _ in range(8)]
    for look in looks:
        look.start()
    assert begun.acquire(timeout=60)
    # Whoever has waited for long enough is told so, and holds no thread of the API server any more.
    with monkeypatch.context() as patch:
        patch.setattr(kept, "LONGEST_WAIT_SECONDS", 0.01)
        with pytest.raises(TransientError, match="Load the page again in a minute"):
            read_overview(places)
    go.set()
    for look in looks:
        look.join(60)
    assert len(reads) == 1
    assert len(found) == 8
    assert all(each is found[0] for each in found)


@pytest.mark.complete
def test_while_a_new_load_is_read_others_see_the_figures_of_before(slow, loaded, places):
    begun, go, reads = slow
    go.set()
    before = read_overview(places)
    go.clear()
    files = export(WORLD, PEOPLE[:14], week=11)
    load(places, files, transaction_time=at(11), run_id="w11")
    warehouse.publish(places)
    while begun.acquire(blocking=False):
        pass
    newest = []
    first = threading.Thread(target=lambda: newest.append(read_overview(places)))
    first.start()
    assert begun.acquire(timeout=60)
    assert read_overview(places) is before
    go.set()
    first.join(60)
    assert len(reads) == 2
    assert read_overview(places) is newest[0]
    assert newest[0] is not before
