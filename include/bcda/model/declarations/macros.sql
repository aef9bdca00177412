-- Macros that the mapping declarations (*.toml beside this file) use to read FHIR elements.
-- Input is the struct a shape (shapes/*.json) makes of a resource: numbers arrive as the text they had in the JSON,
-- so that money never passes through a binary float (docs/table-model.md#values).

-- An empty text is no value.
CREATE OR REPLACE MACRO text_of(value) AS nullif(trim(value), '');

-- Whether a text begins as a date does, from the year 1000 on.
CREATE OR REPLACE MACRO begins_with_day(value) AS value LIKE '____-__-__%' AND value[1] BETWEEN '1' AND '9';

-- Dates: the first ten characters; CMS writes unknown dates as these three. A cast alone would take `epoch`, `infinity`,
-- years of five digits and years before Christ.
CREATE OR REPLACE MACRO date_of(value) AS
  CASE WHEN left(value, 10) IN ('0999-12-27', '1000-01-01', '9999-12-31') OR NOT begins_with_day(value) THEN NULL
       ELSE try_cast(left(value, 10) AS DATE) END;

-- The year at the beginning of a date, as text.
CREATE OR REPLACE MACRO year_of(value) AS nullif(regexp_extract(value, '^[12][0-9]{3}'), '');

-- Instants with any offset become UTC without zone. A direct cast to TIMESTAMP would drop the offset. On the calendar's last
-- day an offset leads past it, to a year that other readers of the lake refuse.
CREATE OR REPLACE MACRO instant_of(value) AS
  CASE WHEN begins_with_day(value) AND NOT starts_with(value, '9999-12-31') THEN try_cast(value AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END;

CREATE OR REPLACE MACRO money_of(value) AS try_cast(value AS DECIMAL(18, 2));

CREATE OR REPLACE MACRO quantity_of(value) AS try_cast(value AS DECIMAL(24, 4));

-- Codes keep their zeros; some systems send them without the leading ones.
CREATE OR REPLACE MACRO padded_code(value, width) AS
  CASE WHEN length(text_of(value)) < width THEN lpad(text_of(value), width, '0') ELSE text_of(value) END;

-- ICD codes without dot, in upper case.
CREATE OR REPLACE MACRO icd_code(value) AS upper(replace(text_of(value), '.', ''));

CREATE OR REPLACE MACRO icd_version(coding_system) AS
  CASE WHEN coding_system ILIKE '%icd-9%' OR coding_system ILIKE '%icd9%' THEN '9'
       WHEN coding_system ILIKE '%icd-10%' OR coding_system ILIKE '%icd10%' THEN '10' END;

-- The name of a CMS variable, without its URL; other texts stay as they are.
CREATE OR REPLACE MACRO variable_name(url) AS replace(url, 'https://bluebutton.cms.gov/resources/variables/', '');

-- The CMS variable among the codings of a category, as its URL; without one, the first code. The variable comes last
-- on the wire, so that place is tried before the whole list is searched.
CREATE OR REPLACE MACRO category_of(codings) AS
  CASE WHEN starts_with(codings[-1].code, 'https://bluebutton.cms.gov/resources/variables/') THEN codings[-1].code
       ELSE coalesce(
         list_filter(codings, lambda c: starts_with(c.code, 'https://bluebutton.cms.gov/resources/variables/'))[1].code,
         codings[1].code) END;

-- The code of one system among codings.
CREATE OR REPLACE MACRO code_in(codings, wanted_system) AS
  text_of(CASE WHEN codings[1].system = wanted_system THEN codings[1].code
               ELSE list_filter(codings, lambda c: c.system = wanted_system)[1].code END);

-- The value at the first place where `names` holds a name.
CREATE OR REPLACE MACRO at_name(elements, names, name) AS elements[list_position(names, name)];

-- The value at the first place where `urls` holds the URL of a CMS variable.
CREATE OR REPLACE MACRO at_variable(elements, urls, name) AS
  elements[list_position(urls, 'https://bluebutton.cms.gov/resources/variables/' || name)];

-- Whether an element of `diagnosis` is typed so; the types may be one coding each or several codings of one.
CREATE OR REPLACE MACRO diagnosis_typed(diagnosis, wanted) AS
  CASE WHEN diagnosis.type[1].coding[1].code = wanted THEN true
       WHEN len(diagnosis.type) = 1 AND len(diagnosis.type[1].coding) = 1 THEN false
       ELSE coalesce(list_contains(
         flatten(list_transform(diagnosis.type, lambda t: list_transform(t.coding, lambda c: c.code))), wanted), false) END;

-- The role of a care team member that is known by an NPI; members known by another kind of number have none.
CREATE OR REPLACE MACRO npi_role_of(member) AS
  CASE WHEN (member.provider.identifier.type.coding[1].code = 'npi'
             OR member.provider.identifier.system = 'http://hl7.org/fhir/sid/us-npi')
            AND text_of(member.provider.identifier.value) IS NOT NULL
       THEN member.role.coding[1].code END;

-- States come as SSA codes on the wire, in some synthetic data as postal letters. `state` is filled from states.csv.
CREATE OR REPLACE MACRO state_usps_of(value) AS
  (SELECT min(usps) FROM state WHERE ssa = lpad(value, 2, '0') OR usps = value);

CREATE OR REPLACE MACRO state_fips_of(value) AS
  (SELECT min(fips) FROM state WHERE ssa = lpad(value, 2, '0') OR usps = value);

-- v3: the code of one of CMS's own code systems among codings.
CREATE OR REPLACE MACRO cms_code_in(codings, name) AS
  code_in(codings, 'https://bluebutton.cms.gov/fhir/CodeSystem/' || name);

-- v3: CMS's category among the codings; without one, the first code. It comes last on the wire.
CREATE OR REPLACE MACRO cms_category_of(codings) AS
  CASE WHEN starts_with(codings[-1].system, 'https://bluebutton.cms.gov/fhir/CodeSystem/') THEN codings[-1].code
       ELSE coalesce(
         list_filter(codings, lambda c: starts_with(c.system, 'https://bluebutton.cms.gov/fhir/CodeSystem/'))[1].code,
         codings[1].code) END;

-- The category in the words of FHIR or CARIN: the first code that is not CMS's own.
CREATE OR REPLACE MACRO carin_category_of(codings, cms_category) AS
  text_of(CASE WHEN codings[1].code <> cms_category THEN codings[1].code ELSE codings[2].code END);

-- v3: the value at the first place where `urls` holds one of CMS's own extensions.
CREATE OR REPLACE MACRO at_cms_extension(elements, urls, name) AS
  elements[list_position(urls, 'https://bluebutton.cms.gov/fhir/StructureDefinition/' || name)];

-- The name of an extension, identifier or code system of CMS without its URL; other URLs stay as they are.
CREATE OR REPLACE MACRO cms_name(url) AS
  regexp_replace(url, '^https?://bluebutton\.cms\.gov/(resources/variables|resources/codesystem|resources/identifier|identifiers|fhir/identifiers|fhir/CodeSystem|fhir/StructureDefinition)/', '');

-- The numbers of the elements of a list: their own, unless two are equal; then their places, or two rows would have one key.
CREATE OR REPLACE MACRO numbers_of(own) AS
  CASE WHEN len(list_distinct(own)) = len(own) THEN own ELSE list_transform(own, lambda y, i: i) END;

-- The reference without the type in front.
CREATE OR REPLACE MACRO id_in(reference) AS text_of(split_part(reference, '/', -1));

CREATE OR REPLACE MACRO is_institutional_type(claim_type) AS
  claim_type IN ('INPATIENT', 'OUTPATIENT', 'SNF', 'HOSPICE', 'HHA');

-- v1, v2: the parts of a monthly extension of Coverage or Patient. Its name ends in the month; the year follows after a
-- slash or is empty. Other extensions have an empty name.
CREATE OR REPLACE MACRO monthly(url) AS
  regexp_extract(variable_name(url),
    '^(ptdcntrct|ptdpbpid|sgmtid|rdsind|cstshr|dual_|buyin|hmo_ind_|ptc_cntrct_id_|ptc_pbp_id_|ptc_plan_type_cd_)([0-9]{2})(?:/([0-9]{4})-[0-9]{1,2})?$',
    ['name', 'month', 'year']);

-- The month of such parts as YYYY-MM; without a year of its own it lies in the resource's reference year.
CREATE OR REPLACE MACRO month_of(parts, reference_year) AS
  coalesce(nullif(parts.year, ''), reference_year) || '-' || parts.month;

-- The name of a contained resource: the text of an organization, or of a person's parts.
CREATE OR REPLACE MACRO name_of(value) AS
  text_of(CASE WHEN starts_with(value, '[')
    THEN concat_ws(' ', json_extract_string(value, '$[0].given[0]'), json_extract_string(value, '$[0].family'))
    ELSE value END);
