-- The source of the database, written down with its first run. Parameters: source_id, server.
INSERT INTO ops.setting
SELECT n.name, n.value
FROM (VALUES ('source_id', $source_id), ('server', $server)) AS n(name, value)
WHERE n.value <> ''
  AND NOT EXISTS (SELECT 1 FROM ops.setting AS s WHERE s.name = n.name);
