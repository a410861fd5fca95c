"""openai against real servers on this machine: good replies, slow ones, refusals, nonsense, and none at all."""

from __future__ import annotations

import base64
import io
import logging
import socket
import threading
import time
import traceback

import numpy as np
import PIL.Image
import pytest
from tests.generalists.server import Reply, says, serve

from consilium.consult.calls import Call, find
from consilium.errors import CannotScoreError, EndpointError, UsageError
from consilium.generalists import openai
from consilium.types import Image, Message

PIXELS = np.arange(0, 4000, dtype=np.int16).reshape(40, 100)
SECRET = "Jane-Roe-history"
ASK = (Message("system", ("Be brief.",)), Message("user", (Image(PIXELS, "u"), f"What is it? {SECRET}")))


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSILIUM_OPENAI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def member(base_url: str, **options) -> openai.OpenAICompatible:
    return openai.load(**{"base_url": base_url, "model": "m", "retries": 0, "timeout_s": 30, **options})


def test_a_reply_is_returned_and_the_picture_arrives() -> None:
    with serve(lambda n: says(" pneumonia\n", completion_tokens=3)) as endpoint:
        completion = member(endpoint.base_url).generate(ASK, max_tokens=7)
    assert completion.text == "pneumonia" and completion.tokens == 3 and completion.logprobs is None
    (request,) = endpoint.requests
    assert request["model"] == "m" and request["max_tokens"] == 7 and request["temperature"] == 0
    system, user = request["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    picture, text = user["content"]
    assert text["text"].startswith("What is it?")
    head, encoded = picture["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert shown.format == "PNG" and shown.size == (100, 40)
    grey = np.asarray(shown)[..., 0]
    assert grey[0, 0] == 0 and grey[-1, -1] == 255 and (np.diff(grey.astype(int), axis=1) >= 0).all()


def test_a_model_without_eyes_gets_text_alone() -> None:
    with serve(lambda n: says("yes")) as endpoint:
        member(endpoint.base_url, sees_images=False).generate(ASK)
    assert endpoint.requests[0]["messages"][1]["content"].startswith("What is it?")


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    with serve(lambda n: says("yes")) as endpoint:
        member(endpoint.base_url).generate(ASK)
        monkeypatch.setenv("CONSILIUM_OPENAI_API_KEY", "own")
        member(endpoint.base_url).generate(ASK)
    assert endpoint.keys == ["Bearer general", "Bearer own"]


def test_a_slow_server_is_given_up() -> None:
    release = threading.Event()
    with serve(lambda n: Reply(wait=release)) as endpoint:
        with pytest.raises(EndpointError, match=r"silent for 0\.3 s .*Raise timeout_s"):
            member(endpoint.base_url, timeout_s=0.3).generate(ASK)
        release.set()


def test_after_429_it_waits_as_told_and_asks_again() -> None:
    with serve(lambda n: says("yes") if n else Reply(429, {"error": {}}, {"Retry-After": "1"})) as endpoint:
        started = time.monotonic()
        assert member(endpoint.base_url, retries=1).generate(ASK).text == "yes"
    assert len(endpoint.requests) == 2 and time.monotonic() - started >= 1


def test_retries_end() -> None:
    failing = Reply(500, {"error": {}}, {"retry-after-ms": "10"})
    said = r"HTTP status 500 \(tries: at most 3\)"
    with serve(lambda n: failing) as endpoint, pytest.raises(EndpointError, match=said):
        member(endpoint.base_url, retries=2).generate(ASK)
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body='{"choices": [{"mess'),
        Reply(body="<html>It works</html>", headers={"Content-Type": "text/html"}),
        Reply(body=""),
        Reply(body="null"),
        Reply(body=[1, 2]),
        Reply(body={"choices": []}),
        Reply(body={"choices": None}),
        Reply(body={"choices": [None]}),
        Reply(body={"choices": [{"message": None}]}),
        Reply(body={"choices": [{"message": {"content": 5}}]}),
        Reply(body={"error": "overloaded"}),
        says(None),
        says("  "),
    ],
    ids=lambda reply: str(reply.body)[:40],
)
def test_a_malformed_reply_is_an_endpoint_error(reply: Reply) -> None:
    with serve(lambda n: reply) as endpoint, pytest.raises(EndpointError, match=r"^the endpoint m at 127\.0\.0\.1 rep"):
        member(endpoint.base_url).generate(ASK)


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(EndpointError, match=r"cannot be reached .*Start the server"):
            member(f"http://127.0.0.1:{taken.getsockname()[1]}/v1").generate(ASK)


@pytest.mark.parametrize(
    ("status", "advice"), [(400, "sees_images=False"), (401, "CONSILIUM_OPENAI_API_KEY"), (404, "model and base_url")]
)
def test_a_refusal_says_what_to_do(status: int, advice: str) -> None:
    refusal = Reply(status, {"error": {"message": "no"}})
    with serve(lambda n: refusal) as endpoint, pytest.raises(EndpointError, match=advice):
        member(endpoint.base_url, retries=2).generate(ASK)
    assert len(endpoint.requests) == 1


def test_a_redirect_is_not_followed() -> None:
    with serve(lambda n: says("stolen")) as elsewhere:
        away = Reply(307, headers={"Location": f"{elsewhere.base_url}/chat/completions"})
        with serve(lambda n: away) as endpoint, pytest.raises(EndpointError, match="HTTP status 307"):
            member(endpoint.base_url).generate(ASK)
    assert elsewhere.requests == []


def test_a_proxy_of_the_environment_is_passed_by_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda n: says("stolen")) as proxy, serve(lambda n: says("yes")) as endpoint:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.base_url.removesuffix("/v1"))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert member(endpoint.base_url).generate(ASK).text == "yes"
    assert proxy.requests == []


def test_neither_prompt_nor_key_is_logged_or_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-private")
    caplog.set_level(logging.DEBUG)
    quoted = {"error": {"message": f"sk-private may not ask {SECRET}"}}
    with serve(lambda n: Reply(401, quoted)) as endpoint, pytest.raises(EndpointError) as raised:
        member(endpoint.base_url).generate(ASK)
    assert caplog.records
    for text in (caplog.text, "".join(traceback.format_exception(raised.value))):
        assert SECRET not in text and "sk-private" not in text


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.example.org/v1",
        "http://192.168.0.7:8080/v1",
        "http://0.0.0.0:8080/v1",
        "http://localhost.example.org/v1",
        "http://127.0.0.1.example.org/v1",
    ],
)
def test_another_machine_needs_leave(base_url: str) -> None:
    with pytest.raises(UsageError, match="allow_remote"):
        member(base_url)
    assert member(base_url, allow_remote=True).sees_images


@pytest.mark.parametrize("base_url", ["http://localhost:1/v1", "http://127.8.9.1/v1", "http://[::1]:8080/v1"])
def test_this_machine_needs_none(base_url: str) -> None:
    assert member(base_url).card.version.startswith("m at ")


@pytest.mark.parametrize(
    "base_url", ["127.0.0.1:8080", "file:///etc/passwd", "http://127.0.0.1@example.org/v1", "http://127.0.0.1\\@x.org/"]
)
def test_what_is_no_plain_address_is_refused(base_url: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        member(base_url, allow_remote=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": None}, "needs base_url=URL and model=NAME"),
        ({"base_url": None}, "needs base_url=URL and model=NAME"),
        ({"folder": "x"}, "no option folder"),
        ({"timeout_s": 0}, "timeout_s must be above 0"),
        ({"retries": -1}, "retries not below 0"),
        ({"slices": 86}, "1 to 85 slices are shown, not 86"),
    ],
)
def test_wrong_options_are_named(options, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        openai.load(**({"base_url": "http://127.0.0.1/v1", "model": "m"} | options))


def test_it_cannot_score() -> None:
    with pytest.raises(CannotScoreError, match="no likelihood of a whole option"):
        member("http://127.0.0.1:1/v1").score(ASK, ["yes", "no"])


TOOLS = [{"type": "function", "function": {"name": "film", "description": "", "parameters": {"type": "object"}}}]


def calls(*functions: object, content: object = None) -> Reply:
    listed = [{"id": str(i), "type": "function", "function": function} for i, function in enumerate(functions)]
    message = {"role": "assistant", "content": content, "tool_calls": listed}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    return Reply(body={"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def test_tools_are_sent_where_the_endpoint_takes_them_and_its_calls_are_text() -> None:
    reply = calls(
        {"name": "film", "arguments": '{"side": "left"}'}, {"name": None, "arguments": "{}"}, content="Let me ask."
    )
    with serve(lambda n: reply) as endpoint:
        text = member(endpoint.base_url, tools=True).generate_with(ASK, TOOLS).text
        member(endpoint.base_url).generate_with(ASK, TOOLS)
        member(endpoint.base_url, tools=True).generate(ASK)
    assert find(text) == (Call("film", {"side": "left"}),) and text.startswith("Let me ask.\n<tool_call>")
    assert endpoint.requests[0]["tools"] == TOOLS
    assert "tools" not in endpoint.requests[1] and "tools" not in endpoint.requests[2]


def test_a_damaged_tool_call_says_so() -> None:
    with serve(lambda n: calls({"name": "film", "arguments": "{side"}, content="Well.")) as endpoint:
        text = member(endpoint.base_url, tools=True).generate_with(ASK, TOOLS).text
    (call,) = find(text, ["film"])
    assert find(text) == () and call.name == "film" and not call.arguments and "no object" in call.problem
    with serve(lambda n: calls()) as endpoint, pytest.raises(EndpointError, match="without text"):
        member(endpoint.base_url, tools=True).generate_with(ASK, TOOLS)
