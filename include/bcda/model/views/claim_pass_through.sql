-- One row per hospital claim that counts and has a pass-through rate, of the version that is shown: what Medicare pays beside the claim.
-- Key: claim_id.
-- Source: claim_amount, claim_current. CCW's CLM_PMT_AMT and CLM_PASS_THRU_PER_DIEM_AMT: the claim's payment leaves out the pass-through,
-- such as of teaching and capital; its total is the rate times the covered days (CLM_UTLZTN_DAY_CNT). It applies to hospitals only.
-- Column pass_through_per_diem: Rate of a day, USD: clm_pass_thru_per_diem_amt; on v3 CLM_INSTNL_PER_DIEM_AMT
-- Column covered_days: Days that Medicare covers: clm_utlztn_day_cnt; on v3 CLM_INSTNL_CVRD_DAY_CNT; NULL when none was sent
-- Column pass_through_amount: Rate times days, USD; with claim.paid_amount it is what Medicare paid in total; NULL without days
CREATE OR REPLACE VIEW main.claim_pass_through AS
SELECT
  c.api_version,
  c.claim_id,
  a.pass_through_per_diem,
  a.covered_days,
  CAST(a.pass_through_per_diem * a.covered_days AS DECIMAL(38, 2)) AS pass_through_amount
FROM (
  SELECT
    api_version,
    claim_id,
    max(amount) FILTER (WHERE category_code IN ('clm_pass_thru_per_diem_amt', 'CLM_INSTNL_PER_DIEM_AMT')) AS pass_through_per_diem,
    max(quantity) FILTER (WHERE category_code IN ('clm_utlztn_day_cnt', 'CLM_INSTNL_CVRD_DAY_CNT')) AS covered_days
  FROM main.claim_amount
  WHERE category_code IN ('clm_pass_thru_per_diem_amt', 'CLM_INSTNL_PER_DIEM_AMT', 'clm_utlztn_day_cnt', 'CLM_INSTNL_CVRD_DAY_CNT')
  GROUP BY api_version, claim_id
) AS a
JOIN main.claim_current AS c
  ON c.api_version = a.api_version
  AND c.claim_id = a.claim_id
WHERE c.claim_type = 'INPATIENT'
  AND a.pass_through_per_diem IS NOT NULL;
