"""Whatever a server writes into its headers, the wait stays within our bounds."""

from hypothesis import given
from hypothesis import strategies as st

from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import Endpoint
from sockwarden.images.patience import MAX_WAIT_SECONDS, MIN_WAIT_SECONDS, WAIT_JITTER, Patience

REG = Endpoint("https://reg.example", "reg.example")

dates = st.lists(
    st.sampled_from(
        ["Mon", "Mon,", "01", "Jan", "2027", "99", "00:00:00", "24:61", "1.2.3", "GMT", "-0000", "+9999", ":"]
    )
    | st.text(max_size=4),
    max_size=8,
).map(" ".join)


@given(dates | st.text() | st.integers().map(str), st.floats(0, 1))
def test_a_wait_stays_within_bounds(header, share):
    now = [0.0]
    patience = Patience(lambda: now[0], lambda least, most: least + share * (most - least))
    patience.limited(REG, "reg.example", header)
    for at, waits in ((MIN_WAIT_SECONDS - 0.01, True), (MAX_WAIT_SECONDS * (1 + WAIT_JITTER) + 1, False)):
        now[0] = at
        assert raises(patience) is waits


@given(st.dictionaries(st.sampled_from(["ratelimit-limit", "ratelimit-remaining"]), st.text()))
def test_any_limit_is_read_or_left_out(headers):
    patience = Patience(lambda: 0.0)
    patience.answered(REG, headers)
    assert all(one.remaining >= 0 for one in patience.limits.values())


def raises(patience: Patience) -> bool:
    try:
        patience.check(REG)
    except RegistryError:
        return True
    return False
