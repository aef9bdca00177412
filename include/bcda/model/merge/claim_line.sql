-- Rows of `claim_line` for every new or changed resource of the run.
-- Parameters: files (lake files of `claim_line`), api_version.
INSERT INTO claim_line
SELECT
  $api_version,
  l.claim_id,
  l.line_number,
  l.revenue_code,
  l.is_total_line,
  l.hcpcs_code,
  l.hipps_code,
  l.modifier_1,
  l.modifier_2,
  l.modifier_3,
  l.modifier_4,
  l.modifier_5,
  l.ndc_code,
  l.service_from,
  l.service_thru,
  l.date_is_inherited,
  l.service_units,
  l.ndc_quantity,
  l.place_of_service,
  l.type_of_service,
  l.betos_code,
  l.rendering_npi,
  l.rendering_specialty,
  l.rendering_type,
  l.rendering_tax_number,
  l.rendering_state_raw,
  l.line_dx,
  l.paid_amount,
  l.allowed_amount,
  l.submitted_amount,
  l.noncovered_amount,
  l.deductible_amount,
  l.coinsurance_amount,
  l.primary_payer_paid_amount,
  l.beneficiary_paid_amount,
  l.processing_code,
  l.primary_payer_code,
  l.hpsa_code
FROM read_parquet($files, hive_partitioning = false) AS l
JOIN staged AS s
  ON s.raw_file = l.raw_file
  AND s.raw_line = l.raw_line
WHERE s.verdict IN ('new', 'changed');
