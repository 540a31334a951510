"""Whatever a config.json holds, it is read or refused; no secret ever gets into a text."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sockwarden.images.loginfile import LoginFile, canonical, parse_login_file

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("auth", "identitytoken", "username", "password"), json_values)
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "auths": json_values | st.dictionaries(st.text(max_size=20), entries | json_values, max_size=3),
        "credHelpers": json_values | st.dictionaries(st.text(max_size=20), st.text(max_size=9), max_size=3),
        "credsStore": json_values,
    },
)


def read(text: bytes) -> LoginFile | None:
    try:
        return parse_login_file(text)
    except ValueError:
        return None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(text):
    read(text)


@given(documents | json_values)
def test_any_document_is_read_or_refused(document):
    login = read(json.dumps(document).encode())
    for name in () if login is None else (*login.helpers.values(), login.store):
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.sampled_from(["auth", "identitytoken", "username", "password"]), documents)
def test_no_secret_is_in_a_text_of_ours(key, document):
    auths = document.get("auths")
    entry = {"username": "ci", "password": "hunter2hunter2", "identitytoken": "", key: "hunter2hunter2"}
    document["auths"] = (auths if isinstance(auths, dict) else {}) | {"reg.example": entry}
    login = read(json.dumps(document).encode())
    assert "hunter2hunter2" not in repr(login).replace("user='hunter2hunter2'", "")


@given(st.text())
def test_a_canonical_name_is_its_own(text):
    once = canonical(text)
    assert canonical(once) == once or "://" in once
