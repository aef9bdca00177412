-- Rows of `claim` for every new or changed resource of the run.
-- Parameters: files (lake files of `claim`), api_version, run_id.
-- is_current: on v1 and v2 an active claim that is no deleted drug event. Source: table model §4, rule 6.
INSERT INTO claim
SELECT
  $api_version,
  l.claim_id,
  l.claim_number,
  l.claim_group,
  l.control_number,
  l.prior_control_number,
  l.patient_id,
  l.claim_type,
  l.nch_claim_type,
  l.source_system,
  l.eob_status,
  l.outcome,
  l.final_action,
  l.adjustment_code,
  coalesce(l.eob_status = 'active', false) AND NOT (l.claim_type = 'PDE' AND coalesce(l.adjustment_code = 'D', false)),
  CASE
    WHEN l.eob_status IS DISTINCT FROM 'active' THEN 'cancelled'
    WHEN l.claim_type = 'PDE' AND l.adjustment_code = 'D' THEN 'deleted drug event'
  END,
  l.service_from,
  l.service_thru,
  l.admission_date,
  l.discharge_date,
  l.processed_date,
  l.received_date,
  l.idr_load_date,
  l.paid_amount,
  l.payment_date,
  l.charge_amount,
  l.allowed_amount,
  l.primary_payer_paid_amount,
  l.deductible_amount,
  l.coinsurance_amount,
  l.blood_deductible_amount,
  l.principal_dx,
  l.admitting_dx,
  l.icd_version,
  l.drg_code,
  l.facility_type,
  l.bill_class,
  l.bill_frequency,
  l.discharge_status,
  l.admission_type,
  l.admission_source,
  l.nonpayment_reason,
  l.payment_denial_code,
  l.primary_payer_code,
  l.query_code,
  l.disposition_code,
  l.provider_ccn,
  l.provider_npi,
  l.provider_state_raw,
  l.attending_npi,
  l.operating_npi,
  l.other_npi,
  l.referring_npi,
  l.contractor_number,
  l.coverage_id,
  s.meta_last_updated,
  $run_id,
  $run_id,
  s.content_hash
FROM read_parquet($files, hive_partitioning = false) AS l
JOIN staged AS s
  ON s.raw_file = l.raw_file
  AND s.raw_line = l.raw_line
WHERE s.verdict IN ('new', 'changed');
