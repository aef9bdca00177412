"""The content hash of a resource: equal as long as nothing but the time of its delivery changed."""

import hashlib
import json

from bcda.budgets import ORDINARY_LINE_BYTES

_LAST_UPDATED = b'"lastUpdated":"'
_CREATED = b'"created":"'


def content_hash(buffer: bytearray, start: int, stop: int, *, last_updated: str | None, created: str | None) -> str:
    """Hash a resource without `meta.lastUpdated` and `created`, which move on every load.

    BCDA writes keys in alphabetical order and without blanks (docs/bcda.md#data-files), so the bytes of a line are its
    canonical form already and only the two values are cut out. They are looked for where that order puts them, and
    the cut is checked against the parsed values; a line for which that fails is parsed, sorted and hashed in full. What
    Python cannot parse within bounds, such as a line nested a thousand times or of several MiB, is hashed as it stands.

    Args:
        buffer: holds the resource's JSON.
        start: where it begins.
        stop: where it ends.
        last_updated: value of `meta.lastUpdated` as parsed, None when absent.
        created: value of the resource's own `created`, None when absent.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Source: docs/table-model.md#content-hash.
    """
    cuts: list[tuple[int, int]] = []
    if created is not None:
        found = buffer.find(_CREATED, start, stop)
        cuts.append(_value_span(found, _CREATED, created))
    if last_updated is not None:
        # `meta` stands behind the long elements, so the way from the end is the short one.
        found = buffer.rfind(_LAST_UPDATED, start, stop)
        cuts.append(_value_span(found, _LAST_UPDATED, last_updated))
    cuts.sort()
    expected = {value.encode() for value in (created, last_updated) if value is not None}
    if {bytes(buffer[a:b]) for a, b in cuts} != expected:
        return _canonical_hash(bytes(buffer[start:stop]))
    digest = hashlib.sha256()
    with memoryview(buffer) as view:
        for cut_start, cut_stop in cuts:
            digest.update(view[start:cut_start])
            start = cut_stop
        digest.update(view[start:stop])
    return digest.hexdigest()


def _value_span(found: int, key: bytes, value: str) -> tuple[int, int]:
    begin = found + len(key) if found >= 0 else 0
    return (begin, begin + len(value.encode())) if found >= 0 else (0, 0)


def _canonical_hash(text: bytes) -> str:
    if len(text) > ORDINARY_LINE_BYTES:
        return hashlib.sha256(text).hexdigest()
    try:
        resource = json.loads(text)
        resource.pop("created", None)
        if isinstance(resource.get("meta"), dict):
            resource["meta"].pop("lastUpdated", None)
        canonical = json.dumps(resource, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError):
        return hashlib.sha256(text).hexdigest()
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
