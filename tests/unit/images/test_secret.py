import pytest

from sockwarden.images.secret import Basic, IdentityToken


def test_a_pair_goes_into_a_header():
    assert Basic("ci", "pw").header() == "Basic Y2k6cHc="


def test_an_identity_token_goes_into_a_form():
    assert IdentityToken("t0k").form("reg", "repository:app:pull") == {
        "grant_type": "refresh_token",
        "service": "reg",
        "client_id": "sockwarden",
        "scope": "repository:app:pull",
        "refresh_token": "t0k",
    }


@pytest.mark.parametrize("secret", [Basic("ci", "hunter2"), IdentityToken("hunter2")])
def test_a_secret_does_not_show(secret):
    assert "hunter2" not in f"{secret!r} {secret!s}"
