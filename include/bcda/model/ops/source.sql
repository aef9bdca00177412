-- What is written down about the source of the database.
SELECT name, value
FROM ops.setting
WHERE name IN ('source_id', 'server');
