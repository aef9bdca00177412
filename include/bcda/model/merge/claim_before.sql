-- What claims counted for before the run, kept before their rows are replaced: of those whose content changes. Whatever else
-- changes is added where it is decided, by claim_currency and reconcile. Parameters: api_version.
CREATE TEMP TABLE claim_before AS
SELECT
  c.claim_id,
  true AS is_changed,
  c.is_current AS counted,
  CAST(date_trunc('month', c.service_thru) AS DATE) AS service_month,
  c.paid_amount
FROM claim AS c
JOIN staged AS s
  ON s.verdict = 'changed'
  AND s.resource_type = 'ExplanationOfBenefit'
  AND s.resource_id = c.claim_id
WHERE c.api_version = $api_version;
