-- Resources that BCDA sent as JSON and that do not have exactly one row in their table. Rebuild the working database with `python -m bcda rebuild-warehouse`; if it fails again, report it.
-- Level: error
-- Threshold: 0
-- One statement for each table with a row per resource: {name}, {relation} and {resource_type}.
SELECT
  '{name}' AS scope,
  count(*) AS rows_checked,
  abs(count(*) - (SELECT count(*) FROM {relation} WHERE api_version = $api_version)) AS rows_failed
FROM resource_version
WHERE api_version = $api_version
  AND resource_type = '{resource_type}'
  AND is_latest;
