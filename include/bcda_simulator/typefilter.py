"""The rules of `_typeFilter` (docs/bcda.md#type-filter); v1 and v2 ignore the parameter."""

import json
import re
from collections.abc import Sequence
from urllib.parse import unquote_plus

_SYSTEM_TYPE = "https://bluebutton.cms.gov/fhir/CodeSystem/System-Type"
_FINAL_ACTION = "https://bluebutton.cms.gov/fhir/CodeSystem/Final-Action"
_TAGS = {
    f"{_SYSTEM_TYPE}|SharedSystem",
    f"{_SYSTEM_TYPE}|NationalClaimsHistory",
    f"{_SYSTEM_TYPE}|DDPS",
    f"{_FINAL_ACTION}|FinalAction",
    f"{_FINAL_ACTION}|NotFinalAction",
}
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DATE = re.compile(r"(eq|lt|gt|le|ge)?\d{4}(-\d\d(-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?)?)?")


def refusal(values: Sequence[str]) -> str | None:
    """Return why the server refuses these `_typeFilter` values, or None when it takes them."""
    if len(values) > 1:
        return "failed to process request given more that one _typeFilter parameter"
    for value in values:
        resource_type, mark, query = value.partition("?")
        if not mark:
            return f"missing question mark {value}"
        if resource_type != "ExplanationOfBenefit":
            return f"invalid _typeFilter Resource Type (Only EOBs valid): {resource_type}"
        for pair in query.split("&"):
            name, equals, raw = pair.partition("=")
            if not equals:
                return f"invalid _typeFilter parameter/value: {pair}"
            if _BAD_ESCAPE.search(raw):
                return f"failed to unescape {raw}"
            text = unquote_plus(raw)
            if problem := _pair_refusal(name, text):
                return problem
    return None


def names_system_type(values: Sequence[str]) -> bool:
    """Tell whether a filter names a System-Type tag; without one the server adds its default."""
    return any(_SYSTEM_TYPE in unquote_plus(value) for value in values)


def passes(line: bytes, values: Sequence[str], *, drops_service_date: bool) -> bool:
    """Tell whether a v3 ExplanationOfBenefit passes the filter; without a System-Type tag NCH and DDPS are added.

    Args:
        line: the resource.
        values: of `_typeFilter`, none or one.
        drops_service_date: service dates with a time of day and lists of them are dropped without notice.
    """
    claim = json.loads(line)
    held = {f"{tag.get('system')}|{tag.get('code')}" for tag in claim.get("meta", {}).get("tag", [])}
    pairs = [pair.partition("=")[::2] for value in values for pair in value.partition("?")[2].split("&")]
    wanted = [(name, unquote_plus(text)) for name, text in pairs]
    if not names_system_type(values):
        wanted.append(("_tag", f"{_SYSTEM_TYPE}|NationalClaimsHistory,{_SYSTEM_TYPE}|DDPS"))
    period = claim.get("billablePeriod", {})
    return all(
        _pair_passes(name, text, held, claim.get("outcome"), period, drops_service_date) for name, text in wanted
    )


def _pair_passes(
    name: str, text: str, held: set[str], outcome: str | None, period: dict[str, str], drops_service_date: bool
) -> bool:
    if name == "_tag":
        return bool(held & set(text.split(",")))
    if name == "outcome":
        return outcome in text.split(",")
    if drops_service_date and ("T" in text or "," in text):
        return True
    prefix, day = (text[:2], text[2:]) if text[:2].isalpha() else ("eq", text)
    start, end = period.get("start", "")[:10], period.get("end", "")[:10]
    # A year or a month after a bound means its first day; for equality it is the whole of it.
    first = {4: f"{day}-01-01", 7: f"{day}-01"}.get(len(day), day)
    if prefix == "eq":
        return start.startswith(day) or end.startswith(day)
    return {"ge": end >= first, "gt": end > first, "le": start <= first, "lt": start < first}[prefix]


def _pair_refusal(name: str, text: str) -> str | None:
    if name == "_tag":
        for tag in text.split(","):
            if "|" not in tag:
                return f"invalid _tag value: {tag}. Searching by tag requires a token (system|code) to be specified"
            if tag not in _TAGS:
                return f"invalid _tag value: {tag}"
        return None
    if name == "outcome":
        bad = [value for value in text.split(",") if value not in {"complete", "partial"}]
        return (
            f"invalid outcome value: {bad[0]}. Supported outcome values are 'complete' and 'partial'" if bad else None
        )
    if name == "service-date":
        bad = [value for value in text.split(",") if not _DATE.fullmatch(value)]
        return f"invalid service-date value: {bad[0]}. Pass a valid FHIR date parameter" if bad else None
    return f"invalid _typeFilter subquery parameter: {name}"
