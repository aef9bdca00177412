-- How many loaded runs have rows of each version of the mapping; 0 is what was loaded before versions were recorded.
SELECT coalesce(m.mapping_version, 0) AS mapping_version, count(*) AS runs
FROM ops.export_run AS r
LEFT JOIN ops.run_mapping AS m USING (run_id)
GROUP BY ALL
ORDER BY ALL;
