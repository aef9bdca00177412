-- What a disposal takes away, in temporary tables; see maintenance/disposal/rules.py.
-- gone: resources.
CREATE OR REPLACE TEMP TABLE gone (api_version VARCHAR, resource_type VARCHAR, resource_id VARCHAR);

-- Patients that go with all that is theirs.
CREATE OR REPLACE TEMP TABLE wanted (api_version VARCHAR, patient_id VARCHAR);

-- MBIs of theirs, by which gaps and unfinished claims name people.
CREATE OR REPLACE TEMP TABLE gone_mbi (mbi VARCHAR);

-- The MBI that was asked for: it can be in unfinished claims and gaps alone.
CREATE OR REPLACE TEMP TABLE asked_mbi (mbi VARCHAR);

-- Keys of persons of whom no Patient stays.
CREATE OR REPLACE TEMP TABLE gone_key (person_key VARCHAR);

-- Runs whose list of people goes.
CREATE OR REPLACE TEMP TABLE gone_list (run_id VARCHAR);

-- The period, one row; empty for a person.
CREATE OR REPLACE TEMP TABLE gone_months (first_day DATE, last_day DATE);

-- Coverages that lose months, with the first days of these.
CREATE OR REPLACE TEMP TABLE trimmed (api_version VARCHAR, coverage_id VARCHAR, months DATE[]);

-- What lines that could not be read are searched for.
CREATE OR REPLACE TEMP TABLE needle (needle VARCHAR);
