-- What a disposal leaves although it may be asked for: claims without a day of service, and MBIs that others had as well.
SELECT
  (SELECT count(*) FROM claim WHERE coalesce(service_thru, service_from) IS NULL) AS without_date,
  (
    SELECT count(DISTINCT i.id_value)
    FROM patient_identifier AS i
    SEMI JOIN wanted AS w
      ON w.api_version = i.api_version
      AND w.patient_id = i.patient_id
    WHERE i.id_kind = 'MBI'
      AND i.id_value NOT IN (SELECT mbi FROM gone_mbi)
  ) AS shared_mbis;
