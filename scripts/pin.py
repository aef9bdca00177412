"""`make pin`: put the digests of the images behind their tags, as a registry gives them now. Needs nothing but Python.

All or none: where one image cannot be resolved, no file changes. A digest counts when it is that of the bytes that came.
"""

import argparse
import hashlib
import json
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

PROJECT = Path(__file__).resolve().parents[1]
DOCKER_HUB = "https://registry-1.docker.io"
LONGEST_ANSWER = 4_000_000
"""Bytes; the OCI specification lets registries refuse larger manifests."""

PLACES = {
    "docker-compose.yaml": re.compile(
        r"(?m)^(\s+image: )((?!bcda-airflow:)[a-z0-9/._-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?$"
    ),
    "Dockerfile": re.compile(r"(?m)^(ARG PYTHON_IMAGE=)([a-z0-9/._-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?$"),
}
"""Where each file names images: what stands before, the image with its tag, and the digest of the last time."""

_KINDS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def digest_of(image: str, registry: str) -> str:
    """Return the digest that a tag has now, over all machines.

    Args:
        image: name and tag; a name without a slash is one of Docker's official images.
        registry: its address.

    Raises:
        OSError: the registry does not answer, or refuses.
        ValueError: its answer is not the manifest that it says it is.
    """
    name, _, tag = image.partition(":")
    name = name if "/" in name else f"library/{name}"
    address, headers = f"{registry}/v2/{name}/manifests/{tag}", {"Accept": _KINDS}
    try:
        body, said = _get(address, headers)
    except HTTPError as error:
        if error.code != 401:  # noqa: PLR2004
            raise
        token = _token(error.headers.get("WWW-Authenticate", ""), name)
        body, said = _get(address, {**headers, "Authorization": f"Bearer {token}"})
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if said not in {"", digest}:
        raise ValueError(f"the answer is not the manifest {said}")
    if json.loads(body).get("schemaVersion") != 2:  # noqa: PLR2004
        raise ValueError("the answer is not a manifest")
    return digest


def _get(address: str, headers: dict[str, str]) -> tuple[bytes, str]:
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - the caller's registry
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.read(LONGEST_ANSWER), answer.headers.get("Docker-Content-Digest", "")


def _token(challenge: str, name: str) -> str:
    """Return what a registry wants to see even of people who only read public images."""
    asked = dict(_CHALLENGE.findall(challenge))
    query = urllib.parse.urlencode({"service": asked.get("service", ""), "scope": f"repository:{name}:pull"})
    body, _ = _get(f"{asked['realm']}?{query}", {})
    return str(json.loads(body)["token"])


def pin(folder: Path, registry: str) -> dict[str, str]:
    """Pin every image that the files of a folder name, and return each with its digest.

    Args:
        folder: with the files of `PLACES`.
        registry: address.

    Raises:
        OSError, ValueError, KeyError: see `digest_of`; no changes were made.
    """
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in PLACES}
    images = sorted({found[1] for name, text in texts.items() for found in PLACES[name].findall(text)})
    digests = {image: digest_of(image, registry) for image in images}
    for name, text in texts.items():
        pinned = PLACES[name].sub(lambda found: f"{found[1]}{found[2]}@{digests[found[2]]}", text)
        (folder / name).write_text(pinned, encoding="utf-8")
    return digests


def main() -> int:
    """Pin the images of this project."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", default=DOCKER_HUB, help="address of the registry, or of a mirror of it")
    registry = parser.parse_args().registry.rstrip("/")
    try:
        digests = pin(PROJECT, registry)
    except (OSError, ValueError, KeyError) as error:
        print(
            f"No image was pinned, and no file changed: {registry}: {error}. Try again where it can be reached.",
            file=sys.stderr,
        )
        return 1
    for image, digest in digests.items():
        print(f"{image}@{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
