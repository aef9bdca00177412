"""Batches: the unit of work that is spread over workers. A batch holds many files.

Source: docs/architecture.md#batches-not-files-are-the-unit-of-work.
"""

from dataclasses import dataclass

from bcda.api.manifest import Manifest, OutputFile
from bcda.errors import InvalidRequestError

MAX_BATCHES = 64
"""One mapped task costs about 0.3 s of the scheduler, so more batches cost more than they spread."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that one task fetches and lands.

    Attributes:
        number: from 0; part of the names of the lake files.
        files: in manifest order.
    """

    number: int
    files: tuple[OutputFile, ...]


def split_into_batches(manifest: Manifest, count: int) -> tuple[Batch, ...]:
    """Deal the files of a manifest to at most `count` batches, evenly within each resource type.

    Args:
        manifest: of a finished job; sizes are unknown before the download, but files of one type are alike.
        count: wanted number of batches, 1 to `MAX_BATCHES`.

    Returns:
        The same batches for the same arguments; none is empty, so a manifest without files gives none.

    Raises:
        InvalidRequestError: `count` is out of range.
    """
    if not 1 <= count <= MAX_BATCHES:
        raise InvalidRequestError(f"`batches` must be between 1 and {MAX_BATCHES}.")
    ordered = sorted(manifest.files, key=lambda file: (file.kind, file.resource_type))
    hands: list[list[OutputFile]] = [[] for _ in range(min(count, len(ordered)))]
    for position, file in enumerate(ordered):
        hands[position % len(hands)].append(file)
    return tuple(Batch(number, tuple(files)) for number, files in enumerate(hands))


def files_of_batch(manifest: Manifest, batch: int, count: int) -> tuple[OutputFile, ...]:
    """Return the files of one batch; none when the manifest has fewer files than there are batches.

    Args:
        manifest: of a finished job.
        batch: number of the batch, from 0.
        count: wanted number of batches.

    Raises:
        InvalidRequestError: `count` is out of range.
    """
    dealt = split_into_batches(manifest, count)
    return dealt[batch].files if batch < len(dealt) else ()
