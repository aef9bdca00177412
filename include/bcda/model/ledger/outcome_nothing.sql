-- The error files of a run that say nothing, or of one without any.
CREATE OR REPLACE TEMP TABLE outcome (raw_file VARCHAR, raw_line BIGINT, severity VARCHAR, text VARCHAR);
