import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitcam.app.file_access import RefusalError, only_own_files

MINE = "/files/1/cat.jpg"
seeded = settings(max_examples=200, derandomize=True, database=None, deadline=None)
plain = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20)
keys = st.text(string.ascii_letters, max_size=8).filter(lambda key: key not in ("path", "url"))
addresses = st.sampled_from(
    ["https://example.org/x", "/etc/passwd", "", "/files/1/../1/cat.jpg", "/files/2/dog.jpg"]
)
paths = addresses | st.none() | st.integers() | st.lists(addresses, max_size=2)


def around(inner):
    """Values that have one of these somewhere in them."""
    return st.recursive(
        inner,
        lambda values: (
            st.tuples(st.lists(plain, max_size=3), values).map(lambda pair: [*pair[0], pair[1]])
            | st.tuples(st.dictionaries(keys, plain, max_size=3), keys, values).map(
                lambda three: {**three[0], three[1]: three[2]}
            )
        ),
        max_leaves=3,
    )


def may_name(path):
    return path == MINE


@seeded
@given(around(st.dictionaries(keys, plain, max_size=2).flatmap(
    lambda others: st.tuples(st.sampled_from(["path", "url"]), paths).map(lambda pair: {**others, pair[0]: pair[1]})
)))  # fmt: skip
def test_no_file_of_anybody_else_is_let_through_wherever_it_is(value):
    with pytest.raises(RefusalError, match="no addresses and no other files"):
        only_own_files(value, may_name)


@seeded
@given(around(st.just({"path": MINE, "url": "https://example.org/", "is_stream": True, "size": 10**12})))
def test_of_ones_own_files_only_path_and_name_are_left(value):
    text = json.dumps(only_own_files(value, may_name))
    assert MINE in text
    assert "example.org" not in text
    assert "is_stream" not in text


@seeded
@given(around(plain))
def test_values_without_files_stay(value):
    assert only_own_files(value, may_name) == value
