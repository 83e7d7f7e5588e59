import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.control.messages import (
    CacheCollect,
    CacheList,
    CacheRemove,
    CacheVerify,
    More,
    PathRequest,
    Request,
    StatusRequest,
    StopRequest,
    WarmRequest,
    decode_answer,
    decode_request,
    encode_answer,
    encode_error,
    encode_more,
    encode_request,
)
from flyfs.core.errors import Denied, FlyfsError, NotFound, RemoteProtocolError, Unavailable


@pytest.mark.parametrize(
    "request_",
    [
        StatusRequest(),
        PathRequest("http://h/ä\udc80"),
        StopRequest(),
        CacheList(),
        CacheRemove(("http://h/a", "0123")),
        CacheCollect(None),
        CacheCollect(0),
        CacheVerify(),
        WarmRequest("http://h/a", supernode_only=False),
        WarmRequest("http://h/a", supernode_only=True),
    ],
)
def test_a_request_is_one_line_and_comes_back(request_: Request) -> None:
    line = encode_request(request_)

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_request(line) == request_


def test_keys_that_a_newer_side_adds_are_ignored() -> None:
    assert decode_request(b'{"request": "status", "verbose": true}\n') == StatusRequest()
    assert decode_answer(b'{"answer": 1, "took_ms": 3}\n') == 1


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{}\n", b"[]\n", b'{"request": "path"}\n', b'{"request": "fly"}\n', b"\xff\n", b"[" * 100_000),
        b'{"request": "cache remove"}\n',
        b'{"request": "cache remove", "names": [1]}\n',
        b'{"request": "cache collect", "to_bytes": true}\n',
        b'{"request": "cache collect"}\n',
        b'{"request": "warm", "url": "http://h/a"}\n',
        b'{"request": "warm", "url": "http://h/a", "supernode_only": 1}\n',
    ],
)
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_request(line)


@pytest.mark.parametrize("line", [b"", b"{}\n", b'{"error": "denied"}\n', b"null\n"])
def test_what_is_no_answer_is_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_answer(line)


@pytest.mark.parametrize("error", [NotFound("a"), Denied("b"), Unavailable("c"), RemoteProtocolError("d")])
def test_an_error_is_raised_again_on_the_other_side(error: FlyfsError) -> None:
    with pytest.raises(type(error)) as caught:
        decode_answer(encode_error(error))
    assert caught.value.message == error.message


def test_a_row_says_that_others_follow() -> None:
    assert decode_answer(encode_more({"id": 1})) == More({"id": 1})


@given(st.binary())
def test_no_line_breaks_the_decoder(line: bytes) -> None:
    try:
        decode_request(line)
    except RemoteProtocolError:
        return


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
    )
)
def test_any_answer_comes_back(answer: object) -> None:
    assert decode_answer(encode_answer(answer)) == json.loads(json.dumps(answer))
