-- Claim types of fewer people than may be counted. Parameters: fewest.
SELECT claim_type
FROM claim
GROUP BY claim_type
HAVING count(DISTINCT patient_id) < $fewest;
