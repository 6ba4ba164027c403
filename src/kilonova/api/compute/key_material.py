"""Public keys and certificates: checking them, their fingerprints, and making a pair for those who have none.

Private keys come from the operating system's randomness by way of ``cryptography``, never from the deployment's
seeded source: a simulated key must not be mistaken for a secret.
"""

import base64
import hashlib
from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from kilonova.model.errors import Invalid
from kilonova.web.moments import as_datetime

_BITS = 2048
_YEARS = 10
_USER_PRINCIPAL_NAME = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")


def fingerprint(kind: str, public_key: str) -> str:
    """Of an ``ssh`` key the MD5 of its blob, of an ``x509`` certificate the SHA-1; ``Invalid`` for anything else."""
    return _ssh_fingerprint(public_key) if kind == "ssh" else _x509_fingerprint(public_key)


def generate(kind: str, user_id: str, now: int) -> tuple[str, str]:
    """A fresh (private, public) pair; for ``x509`` the private half is a PKCS #12 archive in base64, as for WinRM.

    Slow (a tenth of a second), so call it in a thread. ``now`` in microseconds.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    if kind == "x509":
        return _certificate(key, user_id, now)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), f"{public.decode()} made-by-nova"


def _ssh_fingerprint(public_key: str) -> str:
    try:
        serialization.load_ssh_public_key(public_key.strip().encode())
        blob = base64.b64decode(public_key.split()[1])
    except (ValueError, IndexError, UnsupportedAlgorithm):
        raise Invalid("Keypair data is invalid: failed to generate fingerprint") from None
    return _colons(hashlib.md5(blob, usedforsecurity=False).digest())


def _x509_fingerprint(public_key: str) -> str:
    try:
        certificate = x509.load_pem_x509_certificate(public_key.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("Keypair data is invalid: failed to generate X509 fingerprint") from None
    der = certificate.public_bytes(serialization.Encoding.DER)
    return _colons(hashlib.sha1(der, usedforsecurity=False).digest())


def _colons(digest: bytes) -> str:
    return digest.hex(":")


def _certificate(key: rsa.RSAPrivateKey, user_id: str, now: int) -> tuple[str, str]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    principal = f"{user_id}@localhost".encode()
    text = bytes([0x0C, len(principal)]) + principal  # DER of a UTF8String shorter than 128 bytes
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(as_datetime(now) - timedelta(days=1))
        .not_valid_after(as_datetime(now) + timedelta(days=365 * _YEARS))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.OtherName(_USER_PRINCIPAL_NAME, text)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    archive = pkcs12.serialize_key_and_certificates(None, key, certificate, None, serialization.NoEncryption())
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return base64.b64encode(archive).decode(), pem
