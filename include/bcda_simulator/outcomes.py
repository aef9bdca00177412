"""Error bodies, byte for byte as BCDA writes them (docs/bcda.md#error-bodies)."""

import json

_CODES = {400: "structure", 401: "forbidden", 403: "forbidden", 404: "not-found", 410: "not-found", 429: "throttled"}


def outcome(version: str, status: int, text: str = "", *, code: str | None = None) -> bytes:
    """Return the OperationOutcome of an error.

    Args:
        version: `v1` (also for /data), `v2` or `v3`, which differ in shape.
        status: HTTP status, which decides the issue code.
        text: the server's reason; may be empty.
        code: issue code to use instead.
    """
    issue: dict[str, object] = {"severity": "error", "code": code or _CODES.get(status, "exception")}
    if text:
        issue["diagnostics"] = text
    if version == "v2":
        coding = {"system": "http://hl7.org/fhir/ValueSet/operation-outcome", "code": "Request Error"}
        if text:
            coding["display"] = text
        issue["details"] = {"coding": [coding]} | ({"text": text} if text else {})
    elif version == "v3":
        issue["details"] = {"text": text} if text else {}
    return go_json({"resourceType": "OperationOutcome", "issue": [issue]})


def go_json(value: object) -> bytes:
    """Serialize as BCDA's language does: no blanks, and the three characters of HTML escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()
