"""Texts of the server, as messages, logs, notes, XComs and the page may show them.

A text of the server can hold anything, also a person's identifier in any spelling. So a text is shown only if it is one of the
sentences that BCDA is known to say; of any other text its class and its length are shown, and the run's raw folder keeps it.
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

SHOWN_CHARACTERS: Final = 100
"""Longest part of a known sentence that is shown."""

KEPT_BYTES: Final = 1 << 20
"""Longest part of an answer that is kept."""

KEPT_FILES: Final = 20
"""Answers that are kept of one run; each different answer is kept once."""

RESOURCE_TYPES: Final = frozenset(
    {"Patient", "Coverage", "ExplanationOfBenefit", "Claim", "ClaimResponse", "Observation", "OperationOutcome"}
)
"""Types that BCDA names (docs/bcda.md#hosts-and-versions, docs/bcda.md#resource-types)."""

_TYPE = "(?:" + "|".join(sorted(RESOURCE_TYPES)) + ")"
_FORMAT = r"(?:ndjson|application/(?:fhir\+)?ndjson)"

_SLOTS = {
    "any": r".*",
    "cms_id": r"[A-Z]{1,6}-?[0-9]{3,5}",
    "days": r"[0-9]{1,4}",
    "type": _TYPE,
    "types": rf"\[{_TYPE}(?:,? {_TYPE})*\]",
    "formats": rf"\[{_FORMAT}(?: {_FORMAT})*\]",
}
"""What the places of a known sentence can hold; `any` is never shown."""

_SENTENCES = (
    # docs/bcda.md#token, docs/bcda.md#token-check.
    "Invalid Token",
    "Expired Token",
    "Request Error",
    "Unauthorized Error",
    "Unauthorized",
    "ACO (CMS_ID: {cms_id}) is unauthorized",
    "Internal Error",
    "Bad Request",
    "Internal Server Error",
    "Service Unavailable",
    # docs/bcda.md#kick-off-refusals.
    "Database Error",
    "v1 nor v2 access not enabled for this ACO",
    "V3 access not enabled for this ACO",
    "_outputFormat parameter must be one of {formats}",
    "Invalid parameter: this server does not support the _elements parameter.",
    "Invalid parameter: query parameters cannot start with ?",
    "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format.",
    "Invalid date format supplied in _since parameter. Date must be a date that has already passed",
    "Repeated resource type {type}",
    "Accept header is required",
    "application/fhir+json is the only supported response format",
    "Prefer header is required",
    "Only asynchronous responses are supported",
    "Invalid group ID",
    (
        "Model entities in GUIDE are not eligible to access SharedSystem data. Requests using the following tags require access "
        "to SharedSystem data: [SharedSystem]"
    ),
    "Model entities in GUIDE are not eligible to access SharedSystem data.{any}",
    "invalid resource type {type}. Supported types {types}",
    "invalid resource type {any}. Supported types {any}",
    "unauthorized resource type {type}",
    "failed to start job; attribution file not found",
    "failed to start job; attribution file not found for given _since parameter.",
    "runout data is no longer available. Runout data expires {days} days after ingestion",
    (
        "unable to perform export operations for this Group. No up-to-date attribution information is available for ACOID "
        "'{cms_id}'. Usually this is due to awaiting new attribution information at the beginning of a Performance Year"
    ),
    "No up-to-date attribution information is available for ACOID '{cms_id}'.{any}",
    # docs/bcda.md#job-status, docs/bcda.md#cancellation, docs/bcda.md#job-list, docs/bcda.md#downloads.
    "Service encountered numerous errors. Job failed to complete.",
    "Service encountered numerous errors{any}",
    "Job has been cancelled.",
    "Job not found",
    "Not Found",
    "404 page not found",
    "job was not cancelled because it is not Pending or In Progress",
    "job was not cancelled due to internal server error",
    "Repeated status type {any}",
    "invalid status type {any}",
    "no Jobs found for acoID {any}",
    # docs/bcda.md#type-filter.
    "failed to process request given more that one _typeFilter parameter",
    "missing question mark {any}",
    "invalid _typeFilter Resource Type (Only EOBs valid): {any}",
    "invalid _typeFilter parameter/value: {any}",
    "invalid _typeFilter subquery parameter: {any}",
    "invalid _tag value: {any}. Searching by tag requires a token (system|code) to be specified",
    "invalid _tag value: {any}",
    "invalid outcome value: {any}. Supported outcome values are 'complete' and 'partial'",
    "invalid service-date value: {any}. Pass a valid FHIR date parameter",
    "failed to unescape {any}",
    # docs/bcda.md#open-endpoints, docs/bcda.md#token-check.
    "ok",
    "error",
    "Cannot connect to SSAS",
)

_PROGRESS = re.compile(r"Pending|In Progress(?: \([0-9]{1,3}%\))?")
_VERSION = re.compile(r"[A-Za-z]?[0-9]{1,5}(?:\.[0-9]{1,4}){0,3}")
_CMS_HOST = re.compile(r"(?:[a-z-]{1,30}\.){1,4}cms\.gov")
_MEDIA_TYPES = frozenset(
    {
        "text/html",
        "text/plain",
        "text/xml",
        "application/json",
        "application/fhir+json",
        "application/xml",
        "application/octet-stream",
        "application/gzip",
        "application/zip",
    }
)
_PATH = re.compile(r"/api/v[123]/(?:Patient|Group/(?:all|runout))/\$export")
_VALUES = {
    "_type": re.compile(f"{_TYPE}(?:,{_TYPE})*"),
    "_since": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]{1,9})?(?:Z|[ +-][0-9]{2}:[0-9]{2})"),
    "_outputFormat": re.compile(r"ndjson|application/(?:fhir[+ ])?ndjson"),
}

# An MBI has letters and digits at fixed places (CMS, MBI format). Anything that is no letter and no digit can stand between
# them, and anything before and after them.
_PLACES = ("[1-9]", "[A-Z]", "[A-Z0-9]", "[0-9]", "[A-Z]", "[A-Z0-9]", "[0-9]", "[A-Z]", "[A-Z]", "[0-9]", "[0-9]")
_MBI = re.compile("[^A-Za-z0-9]{0,3}".join(_PLACES), re.IGNORECASE)
# What has eleven letters and digits for itself and begins like one is one that someone mistyped.
_LIKE_MBI = re.compile(r"(?<![A-Za-z0-9])[1-9][A-Za-z0-9]{3}-?[A-Za-z0-9]{3}-?[A-Za-z0-9]{4}(?![A-Za-z0-9])")
_DECODED_AT_MOST = 5


def shown(text: str, *, kept: str = "") -> str:
    """Return a text of the server as a message may show it.

    Args:
        text: as the server sent it.
        kept: name of the file in the run's raw folder that has it; empty when nothing keeps it.

    Returns:
        A known sentence, at most `SHOWN_CHARACTERS` of it, with dots in place of values that could be anything. Of another
        text class and length, in brackets. Nothing for nothing.
    """
    text = one_line(text)
    if not text:
        return ""
    for pattern, hidden in _PATTERNS:
        if found := pattern.fullmatch(text):
            for start, end in sorted((found.span(name) for name in hidden), reverse=True):
                text = f"{text[:start]}...{text[end:]}" if end > start else text
            return text[:SHOWN_CHARACTERS] + (f" [all of it is kept in {kept}]" if hidden and kept else "")
    return described(text, kept=kept)


def is_known(text: str) -> bool:
    """Tell whether the whole of a text is shown, apart from its length: nothing has to be kept of it."""
    text = one_line(text)
    return not text or any(pattern.fullmatch(text) and not hidden for pattern, hidden in _PATTERNS)


def described(text: str, *, kept: str = "") -> str:
    """Return class and length of a text that is not shown, in brackets, with the file that keeps it."""
    start = text.lstrip()[:1]
    kind = {"<": "HTML or XML", "{": "JSON", "[": "JSON"}.get(start, "text")
    where = f"; kept in {kept} in the run's raw folder" if kept else ""
    return f"[unknown {kind}, {len(text):,} characters{where}]"


def where(kept: str) -> str:
    """Return the sentence that names the file that keeps an answer."""
    return f"The answer is kept in {kept} in the run's raw folder."


def progress(text: str, *, kept: str = "") -> str:
    """Return `X-Progress` as it may be shown (docs/bcda.md#job-status)."""
    text = one_line(text)
    return text if not text or _PROGRESS.fullmatch(text) else described(text, kept=kept)


def is_known_progress(text: str) -> bool:
    """Tell whether the whole of an `X-Progress` is shown."""
    return progress(text) == one_line(text)


def version(text: object) -> str:
    """Return a version, such as `r297` or `4.0.1`, as it may be shown."""
    if not isinstance(text, str) or not text:
        return "not said"
    return text if _VERSION.fullmatch(text) else described(text)


def host(name: str, configured: str) -> str:
    """Return the name of a host that the server sent: CMS's, and the configured one; of another its length."""
    return name if name == configured or _CMS_HOST.fullmatch(name) else f"[unknown host, {len(name)} characters]"


def media_type(text: str) -> str:
    """Return a content type without parameters, as it may be shown."""
    return text if not text or text in _MEDIA_TYPES else described(text)


def types(text: str) -> str:
    """Return the value of `_type`: all when it is empty, and the types that BCDA has."""
    if not text:
        return "all types"
    return text if _VALUES["_type"].fullmatch(text) else "types that this project does not know"


def parameter(name: str, value: str) -> str:
    """Return the value of a kick-off's parameter as the server repeats it, if it can be nothing else than such a value."""
    pattern = _VALUES.get(name)
    return value if pattern and pattern.fullmatch(value) else f"[{len(value)} characters]"


def path(text: str) -> str:
    """Return the path of a kick-off as the server repeats it."""
    return text if _PATH.fullmatch(text) else f"[unknown path, {len(text)} characters]"


def request(url: str) -> str:
    """Return the address of a kick-off as the server repeats it, without the host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return described(url)
    query = [
        f"{name if name in {*_VALUES, '_typeFilter', '_elements'} else '[parameter]'}={parameter(name, value)}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return f"{path(unquote(parts.path))}{'?' if query else ''}{'&'.join(query)}"


def one_line(text: str) -> str:
    """Return a text as one line without anything that a terminal obeys."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def without_mbi(text: str) -> str:
    """Return a text with everything that can be read as an MBI replaced.

    Also beside a letter or digit, in lower case, with other characters in between, in other forms of the letters, and
    percent-encoded, in which case all of the text is decoded.
    """
    read = _decoded(text)
    for pattern in (_MBI, _LIKE_MBI):
        if pattern.search(read) and not pattern.search(text):
            text = read
        text = pattern.sub("[MBI]", text)
    return text


def _decoded(text: str) -> str:
    for _ in range(_DECODED_AT_MOST):
        decoded = unicodedata.normalize("NFKC", unquote(text))
        if decoded == text:
            break
        text = decoded
    return text


def _pattern(sentence: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """Return the pattern of a sentence, and the groups in it that are not shown."""
    hidden: list[str] = []
    parts = re.split(r"\{(\w+)\}", sentence)
    written = ""
    for number, part in enumerate(parts):
        if number % 2 == 0:
            written += re.escape(part)
        elif part == "any":
            hidden.append(f"any{number}")
            written += f"(?P<any{number}>{_SLOTS[part]})"
        else:
            written += f"(?:{_SLOTS[part]})"
    return re.compile(written), tuple(hidden)


_PATTERNS = tuple(_pattern(sentence) for sentence in _SENTENCES)


@dataclass(frozen=True, slots=True)
class KeptTexts:
    """The answers of a run that no message shows, in its raw folder: `server-text-001.txt` and so on (0600).

    Attributes:
        folder: the run's raw folder; nothing is kept before it is there.
    """

    folder: Path

    def keep(self, content: bytes) -> str:
        """Keep an answer, and return the name of its file; empty when it cannot be kept.

        That a text cannot be kept never replaces the error that it belongs to, so nothing is raised.

        Args:
            content: as the server sent it; the first `KEPT_BYTES` are kept.
        """
        content = content[:KEPT_BYTES]
        for number in range(1, KEPT_FILES + 1):
            name = f"server-text-{number:03d}.txt"
            try:
                if self._is_there(name, content) or self._write(name, content):
                    return name
            except OSError:
                return ""
        return ""

    def _is_there(self, name: str, content: bytes) -> bool:
        found = self.folder / name
        return (
            found.is_file()
            and not found.is_symlink()
            and found.stat().st_size == len(content)
            and found.read_bytes() == content
        )

    def _write(self, name: str, content: bytes) -> bool:
        """Write a new file; return False when another answer has the name."""
        try:
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
        return True


KEPT_PATTERN: Final = "server-text-*.txt"
"""Names of these files; they go with the raw files."""
