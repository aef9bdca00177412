-- The first version that is loaded is the one that views show, until someone chooses another.
-- Parameters: api_version.
INSERT INTO ops.setting
SELECT 'shown_api_version', $api_version
WHERE NOT EXISTS (SELECT 1 FROM ops.setting WHERE name = 'shown_api_version');
