import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.certificates import Certificates

HOST = "reg.example:5000"


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two self-signed certificates with their keys, one of them also under a passphrase."""
    folder = tmp_path_factory.mktemp("pem")
    for name in ("one", "two"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem")  # fmt: skip
    openssl("ec", "-in", f"{folder}/one.key", "-aes256", "-passout", "pass:x", "-out", f"{folder}/locked.key")
    return folder


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / HOST
    made.mkdir()
    return made


def names(context: ssl.SSLContext) -> set[str]:
    """Return the common names of single certificates that were added to the system's roots."""
    certs: Any = context.get_ca_certs()
    found = [value for cert in certs for part in cert["subject"] for _, value in part]
    return {str(name) for name in found} & {"one", "two"}


def put(folder: Path, pem: Path, source: str, name: str) -> None:
    (folder / name).write_bytes((pem / source).read_bytes())


def context(folder: Path, netloc: str = HOST, endpoint: str = HOST) -> ssl.SSLContext:
    return Certificates(folder.parent).context_for(netloc, endpoint)[1]


def fails(folder: Path) -> str:
    with pytest.raises(RegistryError) as caught:
        context(folder)
    assert caught.value.remedy
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    "netloc", ["reg.example", "other.example:5000", "..", ".", "", "a/b", "..:5000", "reg.example:5000/", "x" * 9999]
)
def test_a_host_without_a_folder_is_not_listed(folder, netloc):
    (folder.parent / "a" / "b").mkdir(parents=True)
    assert not Certificates(folder.parent).listed(netloc)


@pytest.mark.parametrize("netloc", [HOST, "Reg.Example:5000"])
def test_a_host_with_a_folder_is_listed(folder, netloc):
    assert Certificates(folder.parent).listed(netloc)


def test_an_address_may_be_listed(folder):
    folder.rename(folder.with_name("[::1]:5000"))
    assert Certificates(folder.parent).listed("[::1]:5000")


def test_without_a_folder_of_folders_nothing_is_listed():
    assert not Certificates().listed(HOST)


def test_a_file_is_no_folder(folder):
    folder.with_name("reg.example").write_text("")
    assert not Certificates(folder.parent).listed("reg.example")


def test_each_crt_is_a_further_ca(folder, pem):
    put(folder, pem, "one.pem", "one.crt")
    put(folder, pem, "two.pem", "two.crt")
    put(folder, pem, "two.pem", "readme.pem")
    assert names(context(folder)) == {"one", "two"}


def test_the_roots_of_the_system_stay(folder, pem):
    put(folder, pem, "one.pem", "one.crt")
    plain = Certificates().context_for("x.example", "x.example")[1]
    assert context(folder).cert_store_stats()["x509_ca"] == plain.cert_store_stats()["x509_ca"] + 1


def test_every_context_checks_certificate_and_host_name(folder):
    found = context(folder)
    assert (found.verify_mode, found.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not found.hostname_checks_common_name
    assert found.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_host_without_a_folder_is_met_like_its_endpoint(folder, pem):
    put(folder, pem, "one.pem", "ca.crt")
    certificates = Certificates(folder.parent)
    name, found = certificates.context_for("auth.example", HOST)
    assert (name, names(found)) == (str(folder), {"one"})


def test_a_host_with_a_folder_is_met_by_its_own(folder, pem):
    other = folder.with_name("auth.example")
    other.mkdir()
    put(folder, pem, "one.pem", "ca.crt")
    put(other, pem, "two.pem", "ca.crt")
    assert names(context(folder, "auth.example")) == {"two"}


def test_another_registry_is_not_concerned(folder, pem):
    put(folder, pem, "one.pem", "ca.crt")
    name, found = Certificates(folder.parent).context_for("other.example", "other.example")
    assert (name, names(found)) == ("", set())


def test_the_context_is_the_same_until_a_file_changes(folder, pem):
    put(folder, pem, "one.pem", "ca.crt")
    certificates = Certificates(folder.parent)
    first = certificates.context_for(HOST, HOST)[1]
    assert certificates.context_for(HOST, HOST)[1] is first
    (folder / "ca.crt").unlink()
    put(folder, pem, "two.pem", "ca.crt")
    second = certificates.context_for(HOST, HOST)[1]
    assert (names(first), names(second)) == ({"one"}, {"two"})


def test_a_pair_is_shown(folder, pem):
    put(folder, pem, "one.pem", "client.cert")
    put(folder, pem, "one.key", "client.key")
    assert context(folder).verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"ca.crt": None}, "ca.crt cannot be used: it holds no certificate in PEM"),
        ({"ca.crt": "one.key"}, "ca.crt cannot be used: it holds no certificate in PEM"),
        (
            {"client.cert": "one.pem"},
            "client.cert cannot be used: there is no client.key beside it; the certificate of a CA has to end in .crt",
        ),
        ({"client.key": "one.key"}, "client.key cannot be used: there is no client.cert beside it"),
        (
            {"client.cert": "one.pem", "client.key": "two.key"},
            "client.cert cannot be used: it and client.key are no pair in PEM",
        ),
        (
            {"client.cert": "one.pem", "client.key": "locked.key"},
            "client.cert cannot be used: it and client.key are no pair in PEM",
        ),
        (
            {"a.cert": "one.pem", "a.key": "one.key", "b.cert": "two.pem", "b.key": "two.key"},
            "b.cert cannot be used: a.cert is shown already, and only one can be",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(folder, pem, files, text):
    for name, source in files.items():
        (folder / name).write_bytes(b"nothing" if source is None else (pem / source).read_bytes())
    assert fails(folder) == text


def test_a_file_that_others_may_write_is_named(folder, pem):
    put(folder, pem, "one.pem", "ca.crt")
    (folder / "ca.crt").chmod(0o666)
    assert fails(folder) == "ca.crt cannot be used: others than its owner root may change it"


def test_a_key_that_others_may_write_is_named(folder, pem):
    put(folder, pem, "one.pem", "client.cert")
    put(folder, pem, "one.key", "client.key")
    (folder / "client.key").chmod(0o666)
    assert fails(folder) == "client.cert cannot be used: others than its owner root may change it"


def test_a_link_to_nowhere_is_named(folder):
    (folder / "ca.crt").symlink_to("nowhere")
    assert fails(folder) == "ca.crt cannot be used: No such file or directory"


def test_a_folder_as_a_certificate_is_named(folder):
    (folder / "ca.crt").mkdir()
    assert fails(folder).startswith("ca.crt cannot be used: ")


def test_a_folder_with_very_many_files_is_named(folder):
    for number in range(65):
        (folder / f"{number}.crt").touch()
    with pytest.raises(RegistryError, match="it has more than 64 files"):
        context(folder)


def test_a_bundle_of_the_system_that_changed_is_read_again(tmp_path, pem, monkeypatch):
    put(tmp_path, pem, "one.pem", "bundle")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle"))
    certificates = Certificates()
    first = certificates.context_for(HOST, HOST)[1]
    (tmp_path / "bundle").unlink()
    put(tmp_path, pem, "two.pem", "bundle")
    second = certificates.context_for(HOST, HOST)[1]
    assert (names(first), names(second)) == ({"one"}, {"two"})


def test_contexts_beyond_the_limit_push_out_the_oldest(tmp_path, monkeypatch):
    monkeypatch.setattr("sockwarden.images.certificates.MAX_CONTEXTS", 2)
    for name in "abc":
        (tmp_path / name).mkdir()
    certificates = Certificates(tmp_path)
    kept = {name: certificates.context_for(name, name)[1] for name in "abc"}
    assert certificates.context_for("c", "c")[1] is kept["c"]
    assert certificates.context_for("a", "a")[1] is not kept["a"]
