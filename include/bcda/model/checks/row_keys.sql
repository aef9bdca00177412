-- Rows with the same key as another one: a join by it would count twice. Rebuild the working database with `python -m bcda rebuild-warehouse`; if it fails again, report the table.
-- Level: error
-- Threshold: 0
-- One statement for each table: {name}, {relation} and {key}, the columns that name a row.
-- Trap: Text keys of every row do not fit into memory, so those with equal hashes are found first and looked at alone.
SELECT
  '{name}' AS scope,
  (SELECT count(*) FROM {relation} WHERE api_version = $api_version) AS rows_checked,
  coalesce(sum(same - 1), 0) AS rows_failed
FROM (
  SELECT count(*) AS same
  FROM {relation}
  WHERE api_version = $api_version
    AND hash({key}) IN (
      SELECT hash({key}) FROM {relation} WHERE api_version = $api_version GROUP BY ALL HAVING count(*) > 1
    )
  GROUP BY {key}
);
