"""Where everything lies: raw bytes, lake, warehouse, published database."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bcda.acceptance import Acceptance
from bcda.errors import InvalidRequestError
from bcda.storage import home
from bcda.storage.encryption import EncryptionKey
from bcda.storage.publication import Publication
from bcda.storage.store_address import StoreAddress

DEFAULT_SOURCE = "bcda_default"
"""Connection whose data lies at the top of BCDA_HOME."""

_SOURCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PATHS = ("raw", "lake", "warehouse", "published")
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,99}")


def is_run_id(text: str) -> bool:
    """Tell whether a text can be the id of a run, and so the name of a file.

    Args:
        text: from anywhere.
    """
    return _RUN_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Places:
    """The four places of one source's data; folders are made with mode 0700, files with 0600.

    Every source, which is a connection to one organization at one BCDA, has places of its own: nothing of two sources is
    ever in one folder or one database.

    Attributes:
        raw: bytes as received, one folder per run.
        lake: Hive-partitioned Parquet.
        warehouse: the working DuckDB database (a file).
        published: the DuckDB file that analysts open.
        source_id: the source.
        key: encrypts lake, warehouse and published database; None leaves them as they are. Raw files are not encrypted.
        store: object store through which workers without a common disk share raw and lake; raw and lake are working copies
            then. None for workers that have a disk in common.
        publication: how the published database is written.
        acceptance: how much of an export may be unreadable.
    """

    raw: Path
    lake: Path
    warehouse: Path
    published: Path
    source_id: str = DEFAULT_SOURCE
    key: EncryptionKey | None = field(default=None, repr=False)
    store: StoreAddress | None = None
    publication: Publication = field(default_factory=Publication)
    acceptance: Acceptance = field(default_factory=Acceptance)

    def __post_init__(self) -> None:
        """Refuse what DuckDB would not write.

        Raises:
            InvalidRequestError: a database's path has a question mark, after which DuckDB expects parameters; or there is
                a key, and the published database's storage version cannot be encrypted.
        """
        self.publication.check_key(has_key=self.key is not None)
        if "?" in f"{self.warehouse}{self.published}":
            raise InvalidRequestError("BCDA_HOME and its overrides cannot have a question mark in their paths.")

    @classmethod
    def below(cls, folder: Path) -> "Places":
        """Return the places in their usual names below one folder."""
        return cls(folder / "raw", folder / "lake", folder / "warehouse" / "working.duckdb", folder / "bcda.duckdb")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, default_home: Path | None = None) -> "Places":
        """Return the places named by `BCDA_HOME` and its overrides.

        Args:
            environment: such as `os.environ`; reads BCDA_HOME, BCDA_RAW, BCDA_LAKE, BCDA_WAREHOUSE, BCDA_PUBLISHED,
                BCDA_ENCRYPTION_KEY, BCDA_OBJECT_STORE, and what `Publication` and `Acceptance` read.
            default_home: used when BCDA_HOME is not set; that of a checkout by default. Not needed when each place is named.

        Raises:
            InvalidRequestError: BCDA_HOME is needed and not set; or a path, the key, the object store's address or a setting of
                the publication is malformed.
        """
        key = environment.get("BCDA_ENCRYPTION_KEY")
        store = environment.get("BCDA_OBJECT_STORE")
        paths = paths_in(environment, default_home)
        return cls(
            raw=paths["raw"],
            lake=paths["lake"],
            warehouse=paths["warehouse"],
            published=paths["published"],
            key=EncryptionKey.from_text(key) if key else None,
            store=StoreAddress.from_text(store) if store else None,
            publication=Publication.from_environment(environment),
            acceptance=Acceptance.from_environment(environment),
        )

    def of_source(self, source_id: str) -> "Places":
        """Return the places of another source: folders named after it below `sources`, beside those of the default one.

        Raises:
            InvalidRequestError: the id could leave the folder.
        """
        if not _SOURCE_ID.fullmatch(source_id):
            raise InvalidRequestError("A source's id holds letters, digits, dot, hyphen and underscore only.")
        if source_id == self.source_id:
            return self
        return Places(
            raw=self.raw.parent / "sources" / source_id / self.raw.name,
            lake=self.lake.parent / "sources" / source_id / self.lake.name,
            warehouse=self.warehouse.parent.parent
            / "sources"
            / source_id
            / self.warehouse.parent.name
            / self.warehouse.name,
            published=self.published.parent / "sources" / source_id / self.published.name,
            source_id=source_id,
            key=self.key,
            store=self.store.of_source(source_id) if self.store else None,
            publication=self.publication,
            acceptance=self.acceptance,
        )

    @property
    def reports(self) -> Path:
        """Folder of the run reports, `{run_id}.html` and `{run_id}.txt`, beside the published database."""
        return self.published.parent / "reports"

    def run_folder(self, run_id: str) -> Path:
        """Return the raw folder of one run.

        Raises:
            InvalidRequestError: the run id could leave the raw folder.
        """
        if not is_run_id(run_id):
            raise InvalidRequestError("A run id holds letters, digits, dot, hyphen and underscore only.")
        return self.raw / run_id


def paths_in(environment: Mapping[str, str], default_home: Path | None = None) -> dict[str, Path]:
    """Return the path of each place, by its name in `Places`.

    Args:
        environment: such as `os.environ`; reads BCDA_HOME, BCDA_RAW, BCDA_LAKE, BCDA_WAREHOUSE and BCDA_PUBLISHED.
        default_home: used when BCDA_HOME is not set; that of a checkout by default.

    Raises:
        InvalidRequestError: BCDA_HOME is needed and not set, and this code is not in a checkout.
    """
    named = {name: environment.get(f"BCDA_{name.upper()}") for name in _PATHS}
    paths = {name: Path(path) for name, path in named.items() if path}
    if len(paths) == len(_PATHS):
        return paths
    at = environment.get("BCDA_HOME") or default_home or home.default_home()
    if at is None:
        raise InvalidRequestError(
            "BCDA_HOME is not set. Set it to the folder for the claims in the environment of each Airflow process. Choose a folder "
            "that remains when the package or the image is replaced. Nothing was sent or written."
        )
    usual = Places.below(Path(at).expanduser().absolute())
    return {name: paths.get(name, getattr(usual, name)) for name in _PATHS}
