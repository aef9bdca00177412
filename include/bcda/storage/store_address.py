"""Where the object store of a deployment is: an address without any secret, so that it may be shown."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qsl, urlsplit

from bcda.errors import InvalidRequestError
from bcda.settings import is_loopback

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.=-]*")
_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")
_CONNECT_SECONDS, _REQUEST_SECONDS = 10.0, 60.0
_OPTIONS = {
    "region",
    "endpoint_override",
    "scheme",
    "tls_ca_file_path",
    "force_virtual_addressing",
    "connect_timeout",
    "request_timeout",
}


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A folder of a bucket on a server that speaks S3.

    Attributes:
        bucket: name of the bucket; it has to be there.
        prefix: folder in it without slash at either end; empty for the bucket's top.
        region: of the bucket; empty for what the AWS configuration of the machine says.
        endpoint: host and port of a server that is not Amazon's; empty for Amazon's.
        is_plain_http: only to a loopback address.
        ca_file: certificates that the server's is checked against, PEM; empty for those of the machine.
        has_virtual_hosts: the server wants the bucket in its host name.
        connect_timeout_seconds: to make a connection.
        request_timeout_seconds: for which a connection may stand still.
    """

    bucket: str
    prefix: str = ""
    region: str = ""
    endpoint: str = ""
    is_plain_http: bool = False
    ca_file: str = ""
    has_virtual_hosts: bool = False
    connect_timeout_seconds: float = _CONNECT_SECONDS
    request_timeout_seconds: float = _REQUEST_SECONDS

    @classmethod
    def from_text(cls, text: str) -> "StoreAddress":
        """Read an address as BCDA_OBJECT_STORE holds it.

        Args:
            text: `s3://bucket/prefix`, with options as pyarrow's addresses have them, such as
                `?region=us-east-1&endpoint_override=minio.example.org:9000`.

        Raises:
            InvalidRequestError: it is something else, or has credentials in it; the message repeats neither.
        """
        parts = urlsplit(text.strip())
        if "@" in parts.netloc:
            raise InvalidRequestError(
                "BCDA_OBJECT_STORE has credentials in it. Take them out: they are found as the AWS command line finds them, "
                "in the environment (AWS_ACCESS_KEY_ID), in ~/.aws or from the machine's role."
            )
        folders = [folder for folder in parts.path.split("/") if folder]
        is_well = parts.scheme == "s3" and _BUCKET.fullmatch(parts.netloc) and not parts.fragment
        if not is_well or not all(_FOLDER.fullmatch(folder) for folder in folders):
            raise InvalidRequestError(
                "BCDA_OBJECT_STORE must be like s3://bucket/prefix, the prefix of letters, digits, dot, hyphen and underscore. "
                "A shared folder needs no object store: set BCDA_HOME to it."
            )
        options = _options(parts)
        return cls(
            bucket=parts.netloc,
            prefix="/".join(folders),
            region=options.get("region", ""),
            endpoint=options.get("endpoint_override", ""),
            is_plain_http=_is_plain_http(options),
            ca_file=options.get("tls_ca_file_path", ""),
            has_virtual_hosts=options.get("force_virtual_addressing", "").lower() in {"true", "1"},
            connect_timeout_seconds=_seconds(options, "connect_timeout", _CONNECT_SECONDS),
            request_timeout_seconds=_seconds(options, "request_timeout", _REQUEST_SECONDS),
        )

    def of_source(self, source_id: str) -> "StoreAddress":
        """Return the address of another source: a folder named after it below `sources`, as in BCDA_HOME.

        Args:
            source_id: connection id, checked by `Places.of_source`.
        """
        return replace(self, prefix=f"{self.prefix}/sources/{source_id}".lstrip("/"))

    def __str__(self) -> str:
        return f"s3://{self.path('')}".rstrip("/")

    def path(self, name: str) -> str:
        """Return the name of an object with its bucket, as pyarrow's file system takes it."""
        return "/".join(part for part in (self.bucket, self.prefix, name) if part)


def _options(parts: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    unknown = sorted({name for name, _ in pairs} - _OPTIONS)
    # An unknown name is not repeated: someone may have put a secret into it.
    if unknown or len(dict(pairs)) != len(pairs):
        raise InvalidRequestError(
            f"BCDA_OBJECT_STORE has an option twice or an unknown one. Known are {', '.join(sorted(_OPTIONS))}."
        )
    return dict(pairs)


def _is_plain_http(options: Mapping[str, str]) -> bool:
    endpoint, scheme = options.get("endpoint_override", ""), options.get("scheme", "https")
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise InvalidRequestError("BCDA_OBJECT_STORE: endpoint_override must be a host, or a host and a port.")
    if scheme not in {"http", "https"}:
        raise InvalidRequestError("BCDA_OBJECT_STORE: scheme must be https, or http for a server on this machine.")
    if scheme == "http" and not is_loopback(urlsplit(f"//{endpoint}").hostname or ""):
        raise InvalidRequestError(
            "BCDA_OBJECT_STORE: plain http is for a server on this machine only, since people's records would go over the "
            "network in the clear. Use https; tls_ca_file_path names the certificates of a server of your own."
        )
    return scheme == "http"


def _seconds(options: Mapping[str, str], name: str, default: float) -> float:
    try:
        seconds = float(options.get(name, default))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:  # noqa: PLR2004
        raise InvalidRequestError(f"BCDA_OBJECT_STORE: {name} must be a number of seconds up to 3600.")
    return seconds
