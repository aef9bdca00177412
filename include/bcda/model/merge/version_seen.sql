-- Content that came before and came again: when it was first and last seen, and its newest delivery. A version in between,
-- delivered late, does not replace it then.
-- Parameters: api_version, run_id, transaction_time.
UPDATE resource_version AS v
SET
  meta_last_updated = CASE WHEN is_newer THEN s.meta_last_updated ELSE v.meta_last_updated END,
  transaction_time = CASE WHEN is_newer THEN $transaction_time ELSE v.transaction_time END,
  first_meta_last_updated = CASE WHEN is_earlier THEN s.meta_last_updated ELSE v.first_meta_last_updated END,
  first_run_id = CASE WHEN is_earlier THEN $run_id ELSE v.first_run_id END,
  first_seen = CASE WHEN is_earlier THEN $transaction_time ELSE v.first_seen END,
  raw_file = CASE WHEN is_earlier THEN s.raw_file ELSE v.raw_file END,
  raw_line = CASE WHEN is_earlier THEN s.raw_line ELSE v.raw_line END,
  last_run_id = CASE WHEN is_later THEN $run_id ELSE v.last_run_id END,
  last_seen = CASE WHEN is_later THEN $transaction_time ELSE v.last_seen END,
  is_latest = v.is_latest OR s.verdict = 'changed'
FROM (
  SELECT
    t.*,
    (coalesce(t.meta_last_updated, TIMESTAMP '-infinity'), $transaction_time)
      > (coalesce(k.meta_last_updated, TIMESTAMP '-infinity'), k.transaction_time) AS is_newer,
    ($transaction_time, $run_id) < (k.first_seen, k.first_run_id) AS is_earlier,
    ($transaction_time, $run_id) > (k.last_seen, k.last_run_id) AS is_later
  FROM staged AS t
  JOIN resource_version AS k
    ON k.api_version = $api_version
    AND k.resource_type = t.resource_type
    AND k.resource_id = t.resource_id
    AND k.content_hash = t.content_hash
  WHERE t.is_known_content
    AND t.verdict <> 'duplicate'
) AS s
WHERE v.api_version = $api_version
  AND v.resource_type = s.resource_type
  AND v.resource_id = s.resource_id
  AND v.content_hash = s.content_hash;
