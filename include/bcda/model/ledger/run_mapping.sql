-- Which rules made the rows of a run. Parameters: run_id, mapping_version.
INSERT INTO ops.run_mapping BY NAME
SELECT $run_id AS run_id, $mapping_version AS mapping_version;
