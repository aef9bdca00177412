-- MBIs that break the form CMS publishes; those of synthetic data do so on purpose.
-- Level: warning
-- Threshold: 0
SELECT
  '' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (
    WHERE NOT regexp_full_match(
      id_value,
      '[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y][0-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y][0-9][AC-HJKMNP-RT-Y]{2}[0-9]{2}'
    )
  ) AS rows_failed
FROM patient_identifier
WHERE api_version = $api_version
  AND id_kind = 'MBI';
