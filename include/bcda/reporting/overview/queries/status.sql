-- What is here, by version, population and resource type, as ops.data_status says it; NULL for fewer than 11 people.
SELECT
  api_version,
  population,
  resource_type,
  covered_until,
  asks_from,
  list_loaded,
  list_newest,
  last_loaded_at,
  shown(people_on_list) AS people_on_list,
  shown(open_gaps) AS open_gaps,
  shown(given_up_gaps) AS given_up_gaps,
  open_gaps > 0 AS has_open_gaps,
  given_up_gaps > 0 AS has_given_up_gaps,
  population = 'current' AND list_newest > coalesce(list_loaded, TIMESTAMP '-infinity') AS lacks_history,
  api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version') AS is_shown
FROM ops.data_status
ORDER BY is_shown DESC, api_version, population, list_position(['Patient', 'Coverage', 'ExplanationOfBenefit'], resource_type) NULLS LAST;
