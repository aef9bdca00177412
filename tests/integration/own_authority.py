"""An organization's own authority, as it vouches for servers inside a network."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bcda_simulator.certificate import Certificate


@dataclass(frozen=True, slots=True)
class OwnAuthority:
    """An authority and a server that it vouches for.

    Attributes:
        certificate: PEM file of the authority, which clients are told to trust.
        server: certificate and key of the server.
    """

    certificate: Path
    server: Certificate


def own_authority(folder: Path, host: str, *, names_host_twice: bool = True) -> OwnAuthority:
    """Make both.

    Args:
        folder: gets the files.
        host: name that clients call.
        names_host_twice: as subject and as alternative name; else as subject alone, as older tools do.
    """
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("An own authority")
    is_authority = x509.BasicConstraints(ca=True, path_length=None)
    authority = _builder(issuer, issuer, authority_key).add_extension(is_authority, critical=True)
    server = _builder(_name(host), issuer, server_key)
    if names_host_twice:
        server = server.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    made = OwnAuthority(folder / "authority.pem", Certificate(folder / "server.pem", folder / "server.key"))
    for path, builder in ((made.certificate, authority), (made.server.certificate, server)):
        signed = builder.sign(authority_key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.server.key.write_bytes(server_key.private_bytes(*plain))
    return made


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
