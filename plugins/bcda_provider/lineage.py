"""What OpenLineage is told of an export: the endpoint it came from, the places it went to, their columns and row counts.

The path of the data is endpoint, raw folder, lake tables, working database, published database. Everything is read from the
accounts that the steps leave on disk; no connection is looked up, and no name is one of a run, a file or a person. The
OpenLineage provider is optional: Airflow calls this only where it is installed and switched on.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import DatasetFacet, InputDatasetFacet, schema_dataset
from openlineage.client.facet_v2 import input_statistics_input_dataset as reading
from openlineage.client.facet_v2 import output_statistics_output_dataset as writing

from bcda import model
from bcda.api import protocol
from bcda.privacy.suppression import FEWEST_PEOPLE
from bcda.runs.batches import files_of_batch
from bcda.runs.folder import RunFolder
from bcda.runs.landed import LandedBatch, read_accounts, read_landed
from bcda.runs.receipts import Receipt, read_receipt
from bcda.runs.run import ExportRun, read_run
from bcda.storage.places import Places

Lineage = OperatorLineage[Any, Any]

_TOTALS = ("resource", "resource_version")
"""Tables with a row for each resource of any type."""

_MAIN = ("patient", "coverage", "claim", "partial_claim", "partial_claim_response")
"""Tables with a row for each resource of a type."""

_FEW = range(1, FEWEST_PEOPLE)


def fetching(places: Places, run_id: str) -> Lineage:
    """Return what a batch is about to be fetched from and to."""
    run = read_run(places.run_folder(run_id))
    inputs = [_endpoint(run, name) for name in run.request.resource_types]
    return Lineage(inputs=inputs, outputs=[OutputDataset(*_place(places, "raw"))])


def fetched(places: Places, run_id: str, batch: int, count: int) -> Lineage:
    """Return what a batch was fetched from and to; of a failed one what came until then."""
    folder = places.run_folder(run_id)
    run = read_run(folder)
    manifest = RunFolder(places, run_id).read_manifest()
    files = files_of_batch(manifest, batch, count)
    receipts = [receipt for file in files if (receipt := read_receipt(folder, file.name)) is not None]
    inputs = []
    for name in sorted({receipt.resource_type for receipt in receipts}):
        statistics = _read([receipt for receipt in receipts if receipt.resource_type == name])
        inputs.append(_endpoint(run, name, statistics))
    raw = OutputDataset(
        *_place(places, "raw"),
        outputFacets={
            "outputStatistics": writing.OutputStatisticsOutputDatasetFacet(
                size=sum(receipt.wire_bytes for receipt in receipts),
                fileCount=len(receipts),
            )
        },
    )
    return Lineage(inputs=inputs, outputs=[raw])


def landing(places: Places) -> Lineage:
    """Return what a batch is about to be landed from."""
    return Lineage(inputs=[InputDataset(*_place(places, "raw"))])


def landed(places: Places, run_id: str, batch: int) -> Lineage:
    """Return what a batch was landed from, and each lake table that got rows, with how many."""
    account = read_landed(places.run_folder(run_id), batch)
    if account is None:
        return landing(places)
    raw = InputDataset(
        *_place(places, "raw"),
        inputFacets={
            "inputStatistics": reading.InputStatisticsInputDatasetFacet(
                size=sum(file.wire_bytes for file in account.files),
                fileCount=len(account.files),
            )
        },
    )
    outputs = []
    for table, rows in _told_of_run(_rows_of([account])).items():
        files = [file for file in account.lake_files if file.table == table]
        statistics = writing.OutputStatisticsOutputDatasetFacet(
            rowCount=rows,
            size=sum(file.bytes or (places.lake / file.path).stat().st_size for file in files),
            fileCount=len(files),
        )
        outputs.append(
            OutputDataset(
                *_place(places, "lake", table),
                facets=_schema(table, without=model.MERGE_COLUMNS),
                outputFacets={"outputStatistics": statistics},
            )
        )
    return Lineage(inputs=[raw], outputs=outputs)


def merged(places: Places, run_id: str) -> Lineage:
    """Return the lake tables that a run is merged from, with its rows in them, and the tables it is merged into."""
    rows = _rows_of(read_accounts(places.run_folder(run_id)))
    core = {name for name, _ in model.lake_tables()}
    inputs = [
        InputDataset(
            *_place(places, "lake", table),
            facets=_schema(table, without=model.MERGE_COLUMNS),
            inputFacets={"inputStatistics": reading.InputStatisticsInputDatasetFacet(rowCount=count)},
        )
        for table, count in _told_of_run(rows).items()
    ]
    # The lake has no months of v3: the merge makes them.
    made = (name for name in ("coverage_month", "coverage_period") if "coverage" in rows)
    names = dict.fromkeys([*(name for name in rows if name in core), *made])
    outputs = [OutputDataset(*_table(places.warehouse, name), facets=_schema(name)) for name in names]
    return Lineage(inputs=inputs, outputs=outputs)


def published(places: Places, rows: Mapping[str, int]) -> Lineage:
    """Return the tables that are published, with all their rows once it is done.

    Args:
        places: of the source.
        rows: rows of each table, by its name; empty before it is done.
    """
    told = _told(rows)
    inputs, outputs = [], []
    for name in model.all_tables():
        inputs.append(InputDataset(*_table(places.warehouse, name), facets=_schema(name)))
        statistics = writing.OutputStatisticsOutputDatasetFacet(rowCount=told.get(name))
        outputs.append(
            OutputDataset(
                *_table(places.published, name),
                facets=_schema(name),
                outputFacets={"outputStatistics": statistics} if name in rows else {},
            )
        )
    return Lineage(inputs=inputs, outputs=outputs)


def _endpoint(run: ExportRun, resource_type: str, statistics: InputDatasetFacet | None = None) -> InputDataset:
    """Return BCDA's export endpoint for one type, without the query."""
    path = protocol.kick_off_path(run.request).partition("?")[0].removeprefix("/api/")
    facets = {"inputStatistics": statistics} if statistics else {}
    return InputDataset(run.server or "bcda", f"{path}/{resource_type}", inputFacets=facets)


def _read(receipts: list[Receipt]) -> reading.InputStatisticsInputDatasetFacet:
    # Lines by type are not told: with the sum of a run's lines, those of one type can tell those of few people.
    return reading.InputStatisticsInputDatasetFacet(
        size=sum(receipt.wire_bytes for receipt in receipts),
        fileCount=len(receipts),
    )


def _place(places: Places, kind: str, table: str = "") -> tuple[str, str]:
    """Return namespace and name of a folder of raw or lake, as OpenLineage names files and buckets."""
    if places.store is not None:
        return f"s3://{places.store.bucket}", "/".join(filter(None, (places.store.prefix, kind, table)))
    return "file", str((places.raw if kind == "raw" else places.lake) / table)


def _table(database: Path, name: str) -> tuple[str, str]:
    """Return namespace and name of a table in a DuckDB file."""
    relation = model.relation(name)
    return f"duckdb://{database}", relation if "." in relation else f"main.{relation}"


def _schema(name: str, without: Iterable[str] = ()) -> dict[str, DatasetFacet]:
    if name not in model.all_tables():
        return {}
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name=column, type=kind, description=comment)
        for column, kind, comment in model.columns(name)
        if column not in without
    ]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)}


def _rows_of(accounts: Iterable[LandedBatch]) -> dict[str, int]:
    """Return the rows that landed in each lake table, by its name."""
    rows: Counter[str] = Counter()
    for account in accounts:
        for file in account.lake_files:
            rows[file.table] += file.rows
    return dict(sorted(rows.items()))


def _told_of_run(rows: Mapping[str, int]) -> dict[str, int | None]:
    """Return row counts of one run as they may leave.

    A row of a main table is a line, and the report has their sum: while one of these tables has few rows, none is told.
    """
    return dict.fromkeys(rows) if any(rows.get(name, 0) in _FEW for name in _MAIN) else _told(rows)


def _told(rows: Mapping[str, int]) -> dict[str, int | None]:
    """Return row counts as they may leave: each row can be a person, and a total would give a number away that is not told."""
    few = {name for name, count in rows.items() if count in _FEW}
    kept_back = few.union(_TOTALS) if few else few
    return {name: None if name in kept_back else count for name, count in rows.items()}
