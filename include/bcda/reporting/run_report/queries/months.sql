-- Dollars moved by month of service, newest first. Parameters: run_id.
SELECT service_month, claims, people, paid_before, paid_now, paid_now - paid_before AS moved
FROM ops.export_change
WHERE run_id = $run_id
  AND grouped_by = 'service month'
ORDER BY service_month DESC NULLS LAST;
