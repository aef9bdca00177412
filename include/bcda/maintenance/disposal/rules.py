"""Which rows of which table are about what is disposed of. Every table has a rule, or is said to be about nobody.

A rule is a condition on a row `t`, in terms of the tables of `selection`: temp.gone (resources), temp.gone_mbi, temp.gone_key,
temp.gone_list (runs), temp.gone_months (a period) and temp.trimmed (Coverages that lose months, and which).
"""

from bcda import model

_ANY_RESOURCE = (
    "EXISTS (SELECT 1 FROM temp.gone AS g WHERE g.api_version = t.api_version "
    "AND g.resource_type = t.resource_type AND g.resource_id = t.resource_id)"
)


def _resource(resource_type: str, key: str) -> str:
    return _ANY_RESOURCE.replace("t.resource_type", f"'{resource_type}'").replace("t.resource_id", f"t.{key}")


_PATIENT = _resource("Patient", "patient_id")
_CLAIM = _resource("ExplanationOfBenefit", "claim_id")
_MONTH = "EXISTS (SELECT 1 FROM temp.gone_months AS m WHERE t.month_start >= m.first_day AND last_day(t.month_start) <= m.last_day)"
_YEAR = (
    "t.api_version <> 'v3' AND EXISTS "
    "(SELECT 1 FROM temp.gone_months AS m WHERE t.period_start >= m.first_day AND t.period_end <= m.last_day)"
)
_LIST = "t.run_id IN (SELECT run_id FROM temp.gone_list)"
_PERSON_KEY = "EXISTS (SELECT 1 FROM temp.gone_key AS k WHERE k.person_key = t.{column})"

CORE = {
    table.name: _resource(table.resource_type, table.key) + (f" OR {_MONTH}" if table.name == "coverage_month" else "")
    for table in model.core_tables()
}
"""Of tables that the lake and the databases have alike, by the lake's name."""

WAREHOUSE: dict[str, str | None] = {
    **{model.relation(name) if "." in model.relation(name) else f"main.{name}": rule for name, rule in CORE.items()},
    "main.coverage_period": f"{_resource('Coverage', 'coverage_id')} OR {_YEAR}",
    "main.patient_identifier": _PATIENT,
    "main.resource_version": _ANY_RESOURCE,
    "main.roster": f"{_PATIENT} OR {_LIST}",
    "main.state_code": None,
    "ops.suspect_claim": _CLAIM,
    "ops.version_conflict": _ANY_RESOURCE,
    "ops.person_change": (
        f"{_PATIENT} OR {_PERSON_KEY.format(column='person_key_before')} OR {_PERSON_KEY.format(column='person_key_now')}"
    ),
    "ops.earlier_person_key": f"{_PATIENT} OR {_PERSON_KEY.format(column='person_key')}",
    "ops.gap": "EXISTS (SELECT 1 FROM temp.gone_mbi AS m WHERE m.mbi = t.mbi)",
    # What runs and a remap changed is money and people by claim type and month: less what is left it tells of those who are gone.
    "ops.export_change": "true",
    "ops.mapping_change": "true",
    # Counts of files, lines, resources and checks, and names of elements.
    "ops.coverage": None,
    "ops.dq_result": None,
    "ops.drift": None,
    "ops.export_count": None,
    "ops.export_file": None,
    "ops.export_run": None,
    "ops.full_pull": None,
    "ops.quarantine": None,
    "ops.reconciliation": None,
    "ops.run_mapping": None,
    "ops.schema_info": None,
    "ops.setting": None,
}
"""Of every table of a database, by its name with the schema. None: its rows are about nobody and stay."""

BY_COLUMN = {"ops.gap": ("patient_id", _PATIENT)}
"""What is a further rule of a table where it has a column, which a database of an earlier release lacks."""

LAKE: dict[str, str | None] = {
    **CORE,
    "patient_identifier": _PATIENT,
    "resource": _ANY_RESOURCE,
    "drift": None,
    "operation_outcome": None,
    "quarantine": None,
}
"""Of every table of the lake. None: no row goes; see `EMPTIED`."""

_TRIMMED = "FROM temp.trimmed AS c WHERE c.api_version = t.api_version AND c.coverage_id = t.coverage_id"

_MARK = (
    f"t.api_version = 'v3' AND EXISTS (SELECT 1 {_TRIMMED} AND NOT list_has_all(coalesce(t.disposed_months, []), c.months))",
    {"disposed_months": f"(SELECT list_sort(list_distinct(list_concat(t.disposed_months, c.months))) {_TRIMMED})"},
)
"""The months of v3 are made of a period, which says nothing of what was disposed of: so that is noted beside it."""

MARKED: dict[str, tuple[str, dict[str, str]]] = {"main.coverage": _MARK, "main.coverage_period": _MARK}
"""Rows of a database that stay with other values: the condition, and what their columns hold then."""

_LOST_MONTHS = (
    "t.resource_type = 'Coverage' AND t.body <> {stub} AND EXISTS "
    "(SELECT 1 FROM temp.trimmed AS c WHERE c.api_version = t.api_version AND c.coverage_id = t.resource_id)"
).replace("{stub}", model.TRIMMED_TEXT)
_NAMED = "EXISTS (SELECT 1 FROM temp.gone_mbi AS m WHERE contains(upper(t.text), m.mbi))"
_MAY_BE_ABOUT = (
    "octet_length(t.line) > 0 AND (EXISTS (SELECT 1 FROM temp.gone_months) OR EXISTS (SELECT 1 FROM temp.needle AS n "
    "WHERE contains(hex(t.line), hex(n.needle)) OR contains(hex(t.line), hex(lower(n.needle)))))"
)

_OF_THE_GONE = f"coalesce({_PATIENT} OR EXISTS (SELECT 1 FROM temp.gone_mbi AS m WHERE m.mbi = t.mbi), false)"  # noqa: S608 - names of ours

ADDED = {"quarantine": ("patient_id", "mbi")}
"""Columns, all of text, that lake files of an earlier release lack, and that the rules name; they are NULL there."""

EMPTIED: dict[str, tuple[str, dict[str, str]]] = {
    # Months that stay have their own table, so the text of a Coverage that lost some says no more than its id.
    "resource": (_LOST_MONTHS, {"body": model.TRIMMED_TEXT}),
    "coverage": _MARK,
    # Such an outcome opens no gap when the working database is rebuilt: the row has to stay, since lines are counted.
    "operation_outcome": (_NAMED, {"severity": "'information'", "text": "NULL"}),
    # Nobody knows what a line says that could not be read: it is searched for a person as text, and has no date. Whom it names stays
    # while the person does; else an empty text says that it opens no gap when the working database is rebuilt.
    "quarantine": (
        f"({_MAY_BE_ABOUT}) OR {_OF_THE_GONE}",
        {
            "line": "''::BLOB",
            "patient_id": f"CASE WHEN {_OF_THE_GONE} THEN '' ELSE t.patient_id END",
            "mbi": f"CASE WHEN {_OF_THE_GONE} THEN '' ELSE t.mbi END",
        },
    ),
}
"""Rows of the lake that stay with other values: the condition, and what their columns hold then."""
