"""The fast matcher is the engine's: the first template, in order, that matches method and path as a whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.dockerapi.routes import ROUTES, Route, match

pytestmark = pytest.mark.property

METHODS = sorted({route.method for route in ROUTES})
SEGMENTS = sorted(
    {part for route in ROUTES for part in route.template.split("/") if "{" not in part} | {"x", "a\nb", "*"}
)
NAIVE = [
    (
        route.method,
        re.compile(re.sub(r"\{\w+(?::([^}]*))?\}", lambda part: f"(?:{part[1] or '[^/]+'})", route.template)),
        route,
    )
    for route in ROUTES
]


def naive_match(method: str, path: str) -> Route | None:
    return next((route for verb, pattern, route in NAIVE if verb == method and pattern.fullmatch(path)), None)


@st.composite
def near_paths(draw: st.DrawFn) -> tuple[str, str]:
    """Return the method and a path of some route, its variables filled with what other routes are made of."""
    route = draw(st.sampled_from(ROUTES))
    fill = st.lists(st.sampled_from(SEGMENTS), max_size=3).map("/".join)
    path = re.sub(r"\{[^}]*\}", lambda _: draw(fill), route.template)
    return draw(st.sampled_from([route.method, *METHODS])), path + draw(
        st.sampled_from(["", "", "", "/", "\n", "/json"])
    )


@given(near_paths())
def test_a_path_near_a_template_goes_where_the_first_match_goes(request_line):
    assert match(*request_line) is naive_match(*request_line)


@given(
    st.sampled_from(METHODS), st.lists(st.sampled_from(SEGMENTS), max_size=6).map(lambda parts: "/" + "/".join(parts))
)
def test_any_mix_of_segments_goes_where_the_first_match_goes(method, path):
    assert match(method, path) is naive_match(method, path)


@given(near_paths())
def test_the_name_of_a_path_stands_in_it(request_line):
    route = match(*request_line)
    if route is not None:
        assert route.name_of(request_line[1]) in request_line[1]
