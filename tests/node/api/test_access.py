"""Who may call, and from where."""

from __future__ import annotations

import base64

import pytest

from node.api.access import MAX_BODY, MAX_CREDENTIALS, Access, HttpRefusal, Login, Role

OWNER = Login("alice", "correct:horse", Role.OWNER)
READER = Login("bob", "battery", Role.READER)
HERE = {"Host": "127.0.0.1:27341"}


def access(bound_to: str = "127.0.0.1") -> Access:
    return Access([OWNER, READER], hosts=["node.example"], bound_to=bound_to)


def status_of(check: Access, method: str = "POST", path: str = "/", **headers: str) -> int:
    try:
        check.check_origin(method, path, {name.replace("_", "-"): value for name, value in headers.items()})
    except HttpRefusal as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "localhost:27341", "LOCALHOST", "[::1]:5", "[::1]", "node.example:80"]
)
def test_a_host_of_this_node_is_served(host: str) -> None:
    assert status_of(access(), Host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "[::1",
        "192.168.0.9",
        "127.0.0.1:x",
        "a:b:c",
        "[",
    ],
)
def test_another_host_name_is_refused(host: str) -> None:
    """A164: a page whose name was rebound to this machine speaks to us under its own name."""
    assert status_of(access(), Host=host) == 403


def test_no_host_at_all_is_refused() -> None:
    assert status_of(access()) == 403


def test_a_node_that_serves_other_machines_may_be_called_by_any_address_but_not_by_any_name() -> None:
    """A164: only names can be rebound."""
    far = access("0.0.0.0")
    assert status_of(far, Host="192.168.0.9:27341") == 200
    assert status_of(far, Host="evil.example") == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:27341"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-origin"},
    ],
)
def test_a_web_page_is_refused(headers: dict[str, str]) -> None:
    """A165."""
    assert status_of(access(), Host="127.0.0.1", **headers) == 403


def test_what_is_no_call_is_refused() -> None:
    assert status_of(access(), "GET", Host="localhost") == 405
    assert status_of(access(), "OPTIONS", Host="localhost") == 405
    assert status_of(access(), path="/admin", Host="localhost") == 404
    assert status_of(access(), path="/wallet/", Host="localhost") == 200
    assert status_of(access(), Host="localhost", Sec_Fetch_Site="none") == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "identity"}, 200),
        ({"Content-Length": str(MAX_BODY)}, 200),
        ({"Content-Length": str(MAX_BODY + 1)}, 413),
        ({"Content-Length": "9" * 5000}, 413),
    ],
)
def test_only_json_of_bounded_length_is_read(headers: dict[str, str], status: int) -> None:
    """A165, A168: a form's content type needs no leave of ours to be sent from a page."""
    try:
        access().check_content(headers)
    except HttpRefusal as refusal:
        assert refusal.status == status
    else:
        assert status == 200


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_a_password_says_what_its_user_may_do() -> None:
    assert access().login(basic("alice:correct:horse")) is Role.OWNER
    assert access().login(basic("bob:battery")) is Role.READER


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic é"},
        basic(""),
        basic(":"),
        basic("alice:"),
        basic("alice:battery"),
        basic("bob:correct:horse"),
        basic("alice:correct:horse "),
        basic("alice:" + "x" * MAX_CREDENTIALS),
    ],
    ids=repr,
)
def test_without_the_right_password_there_is_no_answer(headers: dict[str, str]) -> None:
    """A163: none, empty, wrong, another's, overlong."""
    assert access().login(headers) is None


def test_a_login_does_not_show_its_password() -> None:
    """A150: it may end up in a traceback."""
    assert "horse" not in repr(OWNER)
