-- Reference data that views need; filled from the files beside this one.
CREATE TABLE state_code (
  ssa VARCHAR, -- State code of the Social Security Administration, two digits
  fips VARCHAR, -- FIPS code, two digits
  usps VARCHAR -- Postal letters; one state may have several SSA codes
);

CREATE MACRO icd_indicator(icd_version) AS CASE icd_version WHEN '9' THEN '9' WHEN '10' THEN '0' ELSE 'U' END;
