"""The CapabilityStatement and the other open endpoints (docs/bcda.md#open-endpoints)."""

from datetime import datetime


def capability_statement(version: str, base_url: str, now: datetime) -> dict[str, object]:
    """Return the CapabilityStatement of one API version."""
    name = "export" if version == "v3" else None
    oauth = {
        "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
        "extension": [{"url": "token", "valueUri": f"{base_url}/auth/token"}],
    }
    rest: dict[str, object] = {"mode": "server", "security": {"extension": [oauth]}}
    if version == "v1":
        rest["operation"] = [
            {"name": kind, "definition": {"reference": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/" + kind}}
            for kind in ("patient-export", "group-export")
        ]
    else:
        rest["resource"] = [
            {
                "type": kind.capitalize(),
                "operation": [
                    {
                        "name": name or f"{kind}-export",
                        "definition": f"http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{kind}-export",
                    }
                ],
            }
            for kind in ("patient", "group")
        ]
    statement: dict[str, object] = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": now.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "kind": "instance",
        "implementation": {"description": "A simulated Beneficiary Claims Data API", "url": base_url},
        "fhirVersion": "3.0.1" if version == "v1" else "4.0.1",
        "format": ["application/json", "application/fhir+json"],
        "rest": [rest],
    }
    if version == "v1":
        statement["acceptUnknown"] = "extensions"
    return statement
