"""Fresh keys of one deployment: a certificate authority, server certificates and the SuperNodes' own keys."""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=7)  # longer than any run; the folder goes when the run ends
CURVE = ec.SECP384R1  # a curve that Flower takes for SuperNodes
LOOPBACK = "127.0.0.1"
NODE_KEY = "node.key"  # in a node's own folder


class Authority:
    """A certificate authority whose key exists in memory only, so that nothing can be issued once it is gone."""

    def __init__(self, name: str = "fedbench deployment") -> None:
        self._key = ec.generate_private_key(CURVE())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = _certificate(self._name, self._name, self._key.public_key(), self._key.public_key())
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        own = own.add_extension(_usage(sign=True), critical=True)
        self._certificate = own.sign(self._key, hashes.SHA384())

    def write(self, path: Path) -> Path:
        """Write the authority's certificate, which is public, as PEM."""
        return _write(path, self._certificate.public_bytes(Encoding.PEM))

    def issue(self, folder: Path) -> tuple[Path, Path]:
        """Write a server's certificate for loopback and its key into `folder`; return both paths."""
        key = ec.generate_private_key(CURVE())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
        certificate = (
            _certificate(subject, self._name, key.public_key(), self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA384())
        )
        return (
            _write(folder / "server.crt", certificate.public_bytes(Encoding.PEM)),
            _write(folder / "server.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        )


def node_key(folder: Path) -> tuple[Path, Path]:
    """Write a SuperNode's key pair in the form that Flower reads; return (private, public)."""
    key = ec.generate_private_key(CURVE())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return _write(folder / NODE_KEY, private), _write(folder / "node.pub", public)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    """Return the uses of a key: signing certificates, or the handshakes of a server."""
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes) -> Path:
    """Write a file that only its owner can read, from the moment it is there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
    return path
