-- Reference data that views need; filled from the files beside this one.
CREATE TABLE state_code (
  ssa VARCHAR, -- State code of the Social Security Administration, two digits
  fips VARCHAR, -- FIPS code, two digits
  usps VARCHAR -- Postal letters; one state may have several SSA codes
);

CREATE MACRO icd_indicator(icd_version) AS CASE icd_version WHEN '9' THEN '9' WHEN '10' THEN '0' ELSE 'U' END;

-- Whether an NPI has its check digit: Luhn's formula over 80840 and the number (45 CFR 162.406).
CREATE MACRO npi_is_valid(npi) AS
  CASE
    WHEN NOT regexp_full_match(npi, '[12][0-9]{9}') THEN false
    ELSE (
      24
      + list_sum(list_transform(range(1, 10), lambda i:
          CASE
            WHEN i % 2 = 0 THEN CAST(npi[i] AS INTEGER)
            ELSE (2 * CAST(npi[i] AS INTEGER)) // 10 + (2 * CAST(npi[i] AS INTEGER)) % 10
          END))
      + CAST(npi[10] AS INTEGER)
    ) % 10 = 0
  END;
