-- One row per claim that counts now, of the one version of the API that is shown, with the person's current MBI.
-- Key: claim_id.
-- Source: claim_counted; the shown version is the row `shown_api_version` of ops.setting.
-- Column mbi_current: MBI in force of the person; of a Patient that was replaced by another, the other's
-- Column payer_type: FFS, or MA for records of stays that a Medicare Advantage plan covers: NCH types 61 to 63, encounters 4000 to 4999
-- Column is_suspect: Something is wrong with the claim, as ops.suspect_claim says; it counts anyway
-- Trap: A plain SUM of paid_amount is right here. Drug events have none: their money is in claim_drug. Add
-- `payer_type = 'FFS'` where you count services, such as stays: Medicare pays those of the type MA through the plan.
CREATE OR REPLACE VIEW main.claim_current AS
SELECT *
FROM main.claim_counted
WHERE api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version');
