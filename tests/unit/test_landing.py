import gzip
import hashlib
import json
import stat
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from rawfiles import NOON, land

from bcda.errors import CountMismatchError, ManifestError
from bcda.landing import land_files
from bcda.landing.content_hash import content_hash
from bcda.landing.lines import LineReader
from bcda.runs.receipts import Receipt
from bcda.settings import ApiVersion
from bcda_simulator.world import World

EOB = "ExplanationOfBenefit"


def line(**changes: object) -> bytes:
    resource_ = {
        "id": "carrier-1",
        "meta": {"lastUpdated": "2026-01-02T03:04:05.678-05:00"},
        "resourceType": EOB,
        "status": "active",
    }
    return json.dumps({**resource_, **changes}, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def rows(places, table, columns="*", order="ALL"):
    pattern = str(places.lake / table / "*" / "*" / "*.parquet")
    return duckdb.connect().execute(f"SELECT {columns} FROM read_parquet('{pattern}') ORDER BY {order}").fetchall()


def reasons(places):
    return rows(places, "quarantine", "raw_line, reason")


def test_a_landed_resource_keeps_its_text_and_its_place(places):
    text = line(extension=[{"url": "x", "valueString": "Käse <&> 💊"}])
    _, _, landed = land(places, [(EOB, line(id="pde-9") + text)])
    (found,) = rows(
        places, "resource", "resource_id, meta_last_updated::VARCHAR, body, raw_file, raw_line", "raw_line"
    )[1:]
    assert found == ("carrier-1", "2026-01-02 08:04:05.678", text.decode().rstrip("\n"), f"00001-{EOB}.ndjson.gz", 2)
    assert [(file.table, file.rows) for file in landed.lake_files] == [
        ("claim", 2),
        ("claim_extension", 1),
        ("drift", 1),
        ("resource", 2),
    ]
    assert landed.lake_files[3].path == "resource/api_version=v2/export_date=2026-11-10/r1-000.parquet"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"id":"x",\n', "not JSON"),
        (b"[1]\n", "no resource type"),
        (b'"text"\n', "no resource type"),
        (b"null\n", "no resource type"),
        (b"\n", "empty line"),
        (b'{"id":"x","resourceType":"Patient"}\n', "wrong resource type"),
        (b'{"id":"x"}\n', "no resource type"),
        (b'{"resourceType":"ExplanationOfBenefit"}\n', "no id"),
        (b'{"id":"","resourceType":"ExplanationOfBenefit"}\n', "no id"),
        (b'{"id":"a b","resourceType":"ExplanationOfBenefit"}\n', "no id"),
        (b'{"id":"\xff","resourceType":"ExplanationOfBenefit"}\n', "not UTF-8"),
    ],
    ids=[
        "broken",
        "array",
        "string",
        "null",
        "empty",
        "other-type",
        "no-type",
        "no-id",
        "empty-id",
        "bad-id",
        "not-utf8",
    ],
)
def test_a_bad_line_is_set_aside_and_its_neighbors_land(places, bad, reason):
    _, _, landed = land(places, [(EOB, line(id="carrier-1") + bad + line(id="carrier-2"))])
    (file,) = landed.files
    assert (file.lines_read, file.rows_landed, file.lines_quarantined) == (3, 2, 1)
    assert reasons(places) == [(2, reason)]
    assert rows(places, "quarantine", "line")[0][0] == bad.rstrip(b"\n")
    assert rows(places, "resource", "resource_id, raw_line") == [("carrier-1", 1), ("carrier-2", 3)]
    assert rows(places, "claim", "claim_id") == [("carrier-1",), ("carrier-2",)]


def test_a_cut_last_line_is_told_from_a_whole_one_without_newline(places):
    land(places, [(EOB, line() + line(id="carrier-2")[:-20]), (EOB, line(id="carrier-3").rstrip(b"\n"))])
    assert reasons(places) == [(2, "cut")]
    assert [row[0] for row in rows(places, "resource", "resource_id")] == ["carrier-1", "carrier-3"]


def test_every_line_bad_lands_nothing_and_adds_up(places):
    _, _, landed = land(places, [(EOB, b"x\ny\n\nz")])
    assert [file.table for file in landed.lake_files] == ["quarantine"]
    assert reasons(places) == [(1, "not JSON"), (2, "not JSON"), (3, "empty line"), (4, "cut")]


def test_a_slice_of_bad_lines_after_good_ones_adds_up(places, monkeypatch):
    from bcda.landing import batch

    monkeypatch.setattr(batch, "LineReader", lambda: LineReader(256))
    good = b"".join(line(id=f"carrier-{n}") for n in range(6))
    _, _, landed = land(places, [(EOB, good + b"bad\n" * 200 + good)])
    assert (landed.files[0].rows_landed, landed.files[0].lines_quarantined) == (12, 200)


def test_an_empty_file_lands_as_nothing(places):
    _, _, landed = land(places, [(EOB, b"")])
    assert landed.lake_files == ()
    assert landed.files[0].lines_read == 0


def test_a_line_longer_than_the_buffer_is_set_aside(places, tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"short\n" + b"x" * 5000 + b"\nafter\n" + b"y" * 3000))
    found, oversized = [], []
    for part in LineReader(slice_bytes=1024).slices([path]):
        found += [(*part.origin(row), part.line(row)) for row in rows_of(part)]
        oversized += part.oversized
    assert found == [("x.gz", 1, b"short"), ("x.gz", 3, b"after")]
    assert [each[:3] for each in oversized] == [("x.gz", 2, 5000), ("x.gz", 4, 3000)]


def rows_of(part):
    return range(part.first_row, part.first_row + len(part))


def blanks_of(part):
    return {(name, first + more): b"" for name, first, lines in part.blank for more in range(lines)}


@pytest.mark.parametrize("slice_bytes", [7, 16, 64, 1000])
def test_slices_give_the_same_lines_whatever_the_buffer(tmp_path, slice_bytes):
    lines = [b"a" * (n % 7) for n in range(200)]
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    found = {}
    for part in LineReader(slice_bytes).slices([path]):
        found |= {part.origin(row): part.line(row) for row in rows_of(part)} | blanks_of(part)
    # The last line is empty here, and an empty rest after the last newline is no line.
    expected = lines if lines[-1] else lines[:-1]
    assert found == {("x.gz", number): text for number, text in enumerate(expected, start=1)}


FILES = [
    [b"a" * (n % 7) for n in range(20)],
    [],
    [b"x" * 62],
    [b"x" * 63, b"short", b"y" * 200],
    [b""],
    [b"z" * 300],
    *([b"small"] for _ in range(30)),
    [b"last", b"q" * 64],
]


@pytest.mark.parametrize("slice_bytes", [64, 65, 100, 1000, 100_000])
@pytest.mark.parametrize("ending", [b"\n", b""], ids=["terminated", "unterminated"])
def test_files_follow_each_other_in_slices_and_keep_their_lines(tmp_path, slice_bytes, ending):
    paths = [tmp_path / f"{number}.gz" for number in range(len(FILES))]
    expected, too_long = {}, []
    for path, lines in zip(paths, FILES, strict=True):
        path.write_bytes(gzip.compress(b"\n".join(lines) + ending if lines else b""))
        for number, line_ in enumerate(lines, start=1):
            if len(line_) >= slice_bytes:
                too_long.append((path.name, number, len(line_)))
            elif line_ or ending or number < len(lines):
                expected[path.name, number] = line_
    found, oversized, unterminated, row = {}, [], [], 0
    for part in LineReader(slice_bytes).slices(paths):
        assert part.first_row == row
        row += len(part)
        found |= {part.origin(each): part.line(each) for each in rows_of(part)} | blanks_of(part)
        unterminated += [part.origin(each) for each in part.unterminated]
        oversized += [each[:3] for each in part.oversized]
        assert len(part) == sum(piece.rows for piece in part.parts)
    assert found == expected
    assert row == sum(bool(text) for text in expected.values())
    assert oversized == too_long
    ends = {path.name: len(lines) for path, lines in zip(paths, FILES, strict=True)}
    wanted = [] if ending else [origin for origin in expected if origin[1] == ends[origin[0]]]
    assert sorted(unterminated) == sorted(wanted)


@pytest.mark.parametrize("slice_bytes", [700, 5_000, 1 << 20])
def test_small_files_land_together_and_are_accounted_for_each(places, monkeypatch, slice_bytes):
    from bcda.landing import batch

    monkeypatch.setattr(batch, "LineReader", lambda: LineReader(slice_bytes))
    patient = b'{"id":"p-%d","resourceType":"Patient"}\n'
    notes = b'{"issue":[],"resourceType":"OperationOutcome"}\n'
    kinds = {
        0: (EOB, lambda n: line(id=f"c-{n}") + b"bad\n" + line(id=f"d-{n}"), [1, 3], {2: "not JSON"}),
        1: ("Patient", lambda n: patient % n, [1], {}),
        2: (EOB, lambda n: b"\n" + line(id=f"e-{n}").rstrip(b"\n"), [2], {1: "empty line"}),
        3: (EOB, lambda n: line(id=f"f-{n}") + line(id=f"g-{n}")[:-20], [1], {2: "cut"}),
        4: ("OperationOutcome!", lambda n: notes, [1], {}),
        5: (EOB, lambda n: patient % n + line(id="h h"), [], {1: "wrong resource type", 2: "no id"}),
        6: (EOB, lambda n: b"", [], {}),
        7: (EOB, lambda n: b'{"id":"\xff"}\n' + line(id=f"i-{n}"), [2], {1: "not UTF-8"}),
    }
    files = [kinds[n % 8] for n in range(80)]
    _, _, landed = land(places, [(kind, content(n)) for n, (kind, content, _, _) in enumerate(files)])

    names = [f"{n + 1:05d}-{kind.rstrip('!')}.ndjson.gz" for n, (kind, *_) in enumerate(files)]
    assert {f.name: (f.lines_read, f.rows_landed, f.lines_quarantined) for f in landed.files} == {
        name: (len(good) + len(bad), len(good), len(bad)) for name, (_, _, good, bad) in zip(names, files, strict=True)
    }
    assert rows(places, "quarantine", "raw_file, raw_line, reason") == sorted(
        (name, number, reason)
        for name, (_, _, _, bad) in zip(names, files, strict=True)
        for number, reason in bad.items()
    )
    expected = {
        (name, number): content(n).splitlines()[number - 1].decode()
        for n, (name, (kind, content, good, _)) in enumerate(zip(names, files, strict=True))
        for number in good
        if not kind.endswith("!")
    }
    assert {(row[0], row[1]): row[2] for row in rows(places, "resource", "raw_file, raw_line, body")} == expected
    ids = {place: json.loads(text)["id"] for place, text in expected.items() if EOB in place[0]}
    assert {(row[0], row[1]): row[2] for row in rows(places, "claim", "raw_file, raw_line, claim_id")} == ids


def test_small_files_do_not_make_small_row_groups(places):
    land(places, [(EOB, line(id=f"c-{n}")) for n in range(200)])
    for table in ("resource", "claim"):
        (path,) = (places.lake / table).rglob("*.parquet")
        assert (pq.ParquetFile(path).metadata.num_rows, pq.ParquetFile(path).num_row_groups) == (200, 1)


def test_a_new_element_is_reported_with_each_small_file_that_has_it(places):
    files = [
        (EOB, line(id=f"c-{n}") + line(id=f"d-{n}", **({"brandNew": "x"} if n % 50 == 7 else {}))) for n in range(200)
    ]
    land(places, files)
    found = rows(places, "drift", "path, raw_file, raw_line, occurrences")
    assert [row for row in found if row[0] == "brandNew"] == [
        ("brandNew", f"{n + 1:05d}-{EOB}.ndjson.gz", 2, 1) for n in (7, 57, 107, 157)
    ]


def test_a_line_that_only_the_parser_refuses_is_found_and_set_aside(places, monkeypatch):
    from bcda.landing.engine import Engine

    # No such line is known; should one come, the check for valid JSON says nothing about it.
    monkeypatch.setattr(Engine, "invalid_rows", lambda *_: set())
    land(places, [(EOB, b"".join(b"bad\n" if n in {2, 7, 8} else line(id=f"c-{n}") for n in range(1, 12)))])
    assert reasons(places) == [(number, "cannot be parsed") for number in (2, 7, 8)]
    assert rows(places, "claim", "raw_line") == [(n,) for n in range(1, 12) if n not in {2, 7, 8}]


def test_a_receipt_that_counts_other_lines_stops_the_batch(places):
    run, manifest, landed = land(places, [(EOB, line())])
    folder = places.run_folder(run.run_id)
    file = landed.files[0]
    receipt = Receipt(file.name, file.kind, EOB, "u", file.wire_bytes, file.wire_sha256, file.content_bytes, 7)
    (places.lake / landed.lake_files[0].path).unlink()
    with pytest.raises(CountMismatchError) as caught:
        land_files(run, manifest, [receipt], batch=1, places=places)
    assert caught.value.lines_read == 1
    assert not (folder / "landed-001.json").exists()
    assert not [
        path for path in places.lake.rglob("*") if path.is_file() and ("001" in path.name or path.name.startswith("."))
    ]


def test_a_file_damaged_on_disk_is_noticed(places):
    run, manifest, landed = land(places, [(EOB, line() * 50)])
    path = places.run_folder(run.run_id) / landed.files[0].name
    path.write_bytes(path.read_bytes()[:-9])
    file = landed.files[0]
    receipt = Receipt(file.name, file.kind, EOB, "u", file.wire_bytes, file.wire_sha256, file.content_bytes, 50)
    with pytest.raises(ManifestError, match="does not match its receipt"):
        land_files(run, manifest, [receipt], batch=0, places=places)


def test_files_and_folders_are_private(places):
    land(places, [(EOB, line())])
    for path in places.lake.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("version", list(ApiVersion))
def test_every_version_keeps_every_resource(places, version):
    world = World(people=3, seed=5, history_weeks=8)
    text = b"".join(world.lines(version, EOB, ["0", "1", "2"], after=None, up_to=NOON))
    land(places, [(EOB, text)], version=version)
    assert [row[0].encode() for row in rows(places, "resource", "body", "raw_line")] == text.splitlines()


def test_generated_claims_land_with_every_line_diagnosis_and_cent(places):
    world, people = World(people=8, seed=11, history_weeks=60), [str(n) for n in range(8)]
    text = b"".join(world.lines("v2", EOB, people, after=None, up_to=NOON))
    land(places, [(EOB, text)])
    expected = world.expected(NOON, people=people)
    assert dict(_grouped(places)) == dict(expected.claims)
    assert len(rows(places, "claim_line", "claim_id")) == expected.lines
    assert len(rows(places, "claim_diagnosis", "claim_id")) == expected.diagnoses
    paid = {kind: amount for kind, amount in _paid(places) if amount is not None}
    assert paid == expected.paid


def _grouped(places):
    pattern = str(places.lake / "claim" / "*" / "*" / "*.parquet")
    return duckdb.connect().execute(f"SELECT claim_type, count(*) FROM '{pattern}' GROUP BY ALL").fetchall()


def _paid(places):
    pattern = str(places.lake / "claim" / "*" / "*" / "*.parquet")
    query = f"SELECT claim_type, sum(paid_amount) FROM '{pattern}' WHERE eob_status = 'active' GROUP BY ALL"
    return [
        (kind, Decimal(amount) if amount is not None else None)
        for kind, amount in duckdb.connect().execute(query).fetchall()
    ]


def test_line_payments_add_up_to_the_header(places):
    world, people = World(people=8, seed=11, history_weeks=60), [str(n) for n in range(8)]
    land(places, [(EOB, b"".join(world.lines("v2", EOB, people, after=None, up_to=NOON)))])
    claims, lines = (str(places.lake / table / "*" / "*" / "*.parquet") for table in ("claim", "claim_line"))
    checked, wrong = (
        duckdb.connect()
        .execute(
            f"""SELECT count(*), count(*) FILTER (WHERE header <> lines) FROM (
          SELECT c.claim_id, c.paid_amount AS header, sum(l.paid_amount) FILTER (WHERE NOT l.is_total_line) AS lines
          FROM '{claims}' AS c JOIN '{lines}' AS l USING (claim_id)
          WHERE c.claim_type IN ('CARRIER', 'DME', 'OUTPATIENT', 'HOSPICE', 'HHA') GROUP BY ALL)"""
        )
        .fetchall()[0]
    )
    assert checked > 100
    assert wrong == 0


HASHED = {
    "created": "2026-01-01T00:00:00+00:00",
    "id": "a",
    "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
    "status": "active",
}


def hash_of(value: dict[str, object], *, compact: bool = True) -> str:
    text = json.dumps(value, sort_keys=compact, separators=(",", ":") if compact else (", ", ": ")).encode()
    buffer = bytearray(b"before" + text + b"after")
    meta = value.get("meta") or {}
    return content_hash(buffer, 6, 6 + len(text), last_updated=meta.get("lastUpdated"), created=value.get("created"))


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"created": "2027-07-07T00:00:00+00:00"}, True),
        ({"meta": {"lastUpdated": "2027-07-07T00:00:00Z"}}, True),
        ({"status": "cancelled"}, False),
        ({"meta": {"lastUpdated": "2026-01-01T00:00:00Z", "profile": ["x"]}}, False),
        ({"contained": [{"created": "2020-01-01"}]}, False),
    ],
    ids=["created", "last-updated", "status", "profile", "nested-created"],
)
def test_the_content_hash_ignores_the_delivery_only(change, is_same):
    assert (hash_of(HASHED) == hash_of({**HASHED, **change})) is is_same


def test_the_content_hash_of_a_line_as_bcda_writes_it_is_that_of_its_bytes_without_the_two_values():
    text = json.dumps(HASHED, sort_keys=True, separators=(",", ":"))
    cut = text.replace("2026-01-01T00:00:00+00:00", "").replace("2026-01-01T00:00:00Z", "")
    assert hash_of(HASHED) == hashlib.sha256(cut.encode()).hexdigest()


def test_nested_values_before_the_resources_own_do_not_confuse_the_hash():
    tricky = {
        **HASHED,
        "contained": [{"created": "2020-01-01", "meta": {"lastUpdated": "2020"}}],
        "zzz": {"lastUpdated": "2021"},
    }
    moved = {**tricky, "created": "2028-01-01T00:00:00+00:00", "meta": {"lastUpdated": "2028-01-01T00:00:00Z"}}
    assert hash_of(tricky) == hash_of(moved)
    assert hash_of(tricky) != hash_of({**tricky, "contained": [{"created": "2020-01-02"}]})


LONG_LINE = "[b'{\"text\":\"', *[b'x' * 1_000_000] * 200, b'\"}\\n']"


@pytest.mark.complete
@pytest.mark.parametrize(
    ("pieces", "size"),
    [("[text] * (600_000_000 // len(text))", 550_000_000), (LONG_LINE, 200_000_000)],
    ids=["600 MB of claims", "a line of 200 MB"],
)
def test_memory_stays_bounded_whatever_the_file_size(tmp_path, pieces, size):
    script = f"""
        import gzip, hashlib, re, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from bcda.landing import land_files
        from bcda.storage.files import private_folder
        from bcda.storage.places import Places
        from bcda.runs.receipts import Receipt
        from bcda.api.manifest import FileKind
        from bcda_simulator.world import World
        from rawfiles import NOON, land
        places = Places.below(Path({str(tmp_path)!r}))
        run, manifest, _ = land(places, [("Patient", b"")])
        people = [str(n) for n in range(30)]
        text = b"".join(World(people=30, seed=2).lines("v2", "ExplanationOfBenefit", people, after=None, up_to=NOON))
        name, size, lines = "00009-ExplanationOfBenefit.ndjson.gz", 0, 0
        pieces = {pieces}
        packed = {{piece: gzip.compress(piece, 1) for piece in set(pieces)}}
        with (places.run_folder("r1") / name).open("wb") as file:
            for piece in pieces:
                file.write(packed[piece])
                size, lines = size + len(piece), lines + piece.count(b"\\n")
        with (places.run_folder("r1") / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        receipt = Receipt(name, FileKind.OUTPUT, "ExplanationOfBenefit", "u", 0, digest, 0, lines)
        land_files(run, manifest, [receipt], batch=1, places=places)
        # Not ru_maxrss: a child begins with the peak of the process that started it.
        peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
        print(int(peak.group(1)) // 1024, size)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    peak_mib, written = map(int, done.stdout.split())
    assert written > size
    assert peak_mib < 600
