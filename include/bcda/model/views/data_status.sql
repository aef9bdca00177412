-- One row per version, population and resource type: what is here, up to when, for whom, and what is missing.
-- Key: api_version, population, resource_type.
-- Source: ops.coverage, ops.gap, roster.
-- Column population: current: people of the current attribution list; runout: those of last year's runout list
-- Column covered_until: Every change from the beginning up to this instant is here, gaps apart, UTC; NULL while some part is open
-- Column asks_from: Where the next run begins, gaps apart, UTC; NULL: from the beginning
-- Column list_loaded: Date of the newest attribution list all of whose people are here with their history, UTC
-- Column list_newest: Date of the newest attribution list that a run was made from, UTC
-- Column people_on_list: People that the newest full run brought
-- Column people_with_data: Those of them with at least one resource of the type; NULL where that cannot be told
-- Column open_gaps: People whose data is missing for some time, all gaps that can be about anybody counting as one; the next run requests it again, for this type only
-- Column given_up_gaps: People whose data runs no longer request automatically; a run with `gaps` does
-- Column unnamed_gaps: Those of both that can be about anybody: 1 when nothing says whom some of it is about, so that the data of everyone can be incomplete; else 0
-- Column last_loaded_at: When the newest run was merged, UTC
-- Column older_mapping_runs: Runs whose rows an older mapping made, so that corrected columns hold their old values; `python -m bcda remap` makes them again
-- Column missing: What is missing, in words; empty when nothing is known to be
CREATE OR REPLACE VIEW ops.data_status AS
WITH RECURSIVE asked AS (
  SELECT
    r.api_version,
    CASE WHEN r.export_scope = 'group-runout' THEN 'runout' ELSE 'current' END AS population,
    unnest(r.resource_types) AS resource_type,
    r.list_at,
    r.finished_at,
    coalesce(m.mapping_version, 0) < (SELECT max(CAST(value AS INTEGER)) FROM ops.setting WHERE name = 'mapping_version') AS is_older
  FROM ops.export_run AS r
  LEFT JOIN ops.run_mapping AS m
    ON m.run_id = r.run_id
),
kind AS (
  SELECT
    api_version,
    population,
    resource_type,
    max(list_at) AS list_newest,
    max(finished_at) AS last_loaded_at,
    count(*) FILTER (WHERE is_older) AS older_mapping_runs
  FROM asked
  GROUP BY ALL
),
run AS (
  SELECT
    c.*,
    CASE WHEN c.export_scope = 'group-runout' THEN 'runout' ELSE 'current' END AS population,
    c.brings_history AND NOT EXISTS (
      SELECT 1
      FROM ops.open_gap AS g
      WHERE g.opened_run_id = c.run_id
        AND g.resource_type = c.resource_type
        AND g.needs = 'history'
        AND g.is_tried_again
    ) AS has_history
  FROM ops.coverage AS c
),
reach AS (
  SELECT *, max(until_ts) OVER before AS reached
  FROM run
  WINDOW before AS (
    PARTITION BY api_version, population, resource_type
    ORDER BY since_ts NULLS FIRST, until_ts
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  )
),
chain AS (
  SELECT
    *,
    count(*) FILTER (WHERE since_ts IS NOT NULL AND (reached IS NULL OR since_ts > reached)) OVER (
      PARTITION BY api_version, population, resource_type
      ORDER BY since_ts NULLS FIRST, until_ts
      ROWS UNBOUNDED PRECEDING
    ) AS breaks
  FROM reach
),
covered AS (
  SELECT api_version, population, resource_type, max(until_ts) AS covered_until
  FROM chain
  WHERE breaks = 0
  GROUP BY ALL
),
loaded AS (
  SELECT api_version, population, resource_type, list_at
  FROM run
  WHERE since_ts IS NULL
    AND list_at IS NOT NULL
  UNION
  SELECT n.api_version, n.population, n.resource_type, n.list_at
  FROM run AS n
  JOIN loaded AS l
    ON l.api_version = n.api_version
    AND l.population = n.population
    AND l.resource_type = n.resource_type
    AND n.since_ts = l.list_at
  WHERE n.has_history
    AND n.list_at IS NOT NULL
),
gap AS (
  SELECT
    api_version,
    CASE WHEN export_scope = 'group-runout' THEN 'runout' ELSE 'current' END AS population,
    resource_type,
    count(DISTINCT coalesce(person, '')) FILTER (WHERE is_tried_again) AS open_gaps,
    count(DISTINCT coalesce(person, '')) FILTER (WHERE NOT is_tried_again) AS given_up_gaps,
    CASE WHEN bool_or(person IS NULL) THEN 1 ELSE 0 END AS unnamed_gaps
  FROM ops.open_gap
  GROUP BY ALL
),
full_list AS (
  SELECT
    api_version,
    CASE WHEN export_scope = 'group-runout' THEN 'runout' ELSE 'current' END AS population,
    max_by(run_id, (transaction_time, run_id)) AS run_id
  FROM ops.export_run
  WHERE is_full
    AND list_contains(resource_types, 'Patient')
  GROUP BY ALL
),
person AS (
  SELECT
    f.population,
    o.api_version,
    o.patient_id,
    v.patient_id IS NOT NULL AS has_coverage,
    c.patient_id IS NOT NULL AS has_claim
  FROM full_list AS f
  JOIN main.roster AS o
    ON o.run_id = f.run_id
  JOIN main.patient AS p
    ON p.api_version = o.api_version
    AND p.patient_id = o.patient_id
    AND NOT p.is_stub
  LEFT JOIN (SELECT DISTINCT api_version, patient_id FROM main.coverage) AS v
    ON v.api_version = o.api_version
    AND v.patient_id = o.patient_id
  LEFT JOIN (SELECT DISTINCT api_version, patient_id FROM main.claim) AS c
    ON c.api_version = o.api_version
    AND c.patient_id = o.patient_id
),
people AS (
  SELECT
    api_version,
    population,
    count(*) AS people_on_list,
    count(*) FILTER (WHERE has_coverage) AS with_coverage,
    count(*) FILTER (WHERE has_claim) AS with_claim
  FROM person
  GROUP BY ALL
),
status AS (
  SELECT
    k.api_version,
    k.population,
    k.resource_type,
    c.covered_until,
    c.covered_until - CASE k.api_version || ' ' || k.resource_type {overlaps} END AS begin_ts,
    l.list_loaded,
    k.list_newest,
    p.people_on_list,
    CASE k.resource_type
      WHEN 'Patient' THEN p.people_on_list
      WHEN 'Coverage' THEN p.with_coverage
      WHEN 'ExplanationOfBenefit' THEN p.with_claim
    END AS people_with_data,
    coalesce(g.open_gaps, 0) AS open_gaps,
    coalesce(g.given_up_gaps, 0) AS given_up_gaps,
    coalesce(g.unnamed_gaps, 0) AS unnamed_gaps,
    k.last_loaded_at,
    k.older_mapping_runs
  FROM kind AS k
  LEFT JOIN covered AS c USING (api_version, population, resource_type)
  LEFT JOIN gap AS g USING (api_version, population, resource_type)
  LEFT JOIN (SELECT api_version, population, resource_type, max(list_at) AS list_loaded FROM loaded GROUP BY ALL) AS l
    USING (api_version, population, resource_type)
  LEFT JOIN people AS p USING (api_version, population)
)
SELECT
  api_version,
  population,
  resource_type,
  covered_until,
  CASE
    WHEN covered_until IS NULL OR begin_ts < CASE api_version {floors} END
      THEN NULL
    ELSE begin_ts
  END AS asks_from,
  list_loaded,
  list_newest,
  people_on_list,
  people_with_data,
  open_gaps,
  given_up_gaps,
  unnamed_gaps,
  last_loaded_at,
  older_mapping_runs,
  concat_ws('; ',
    CASE WHEN covered_until IS NULL THEN 'not loaded from the beginning' END,
    CASE WHEN open_gaps > 0 THEN open_gaps || ' people whose data is missing for some time, asked for again with the next run' END,
    CASE WHEN given_up_gaps > 0 THEN given_up_gaps || ' people that BCDA could not retrieve and no run requests automatically, see ops.open_gap' END,
    CASE WHEN unnamed_gaps > 0 THEN 'nothing says whom some of it is about' END,
    CASE
      WHEN population = 'current' AND list_newest > coalesce(list_loaded, TIMESTAMP '-infinity')
        THEN 'history of people new since the list of ' || coalesce(strftime(list_loaded, '%Y-%m-%d'), 'the beginning')
    END,
    CASE
      WHEN resource_type = 'Coverage' AND people_with_data < people_on_list
        THEN (people_on_list - people_with_data) || ' people without any Coverage, which BCDA did not report'
    END) AS missing
FROM status;
