"""openai: any server that speaks OpenAI's chat completions (llama.cpp, Ollama, vLLM ...). On this machine unless told."""

from __future__ import annotations

import base64
import io
import ipaddress
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from consilium.errors import CannotScoreError, EndpointError, UsageError
from consilium.imaging.picture import VIEWS
from consilium.imaging.slices import check_count
from consilium.protocols import Card
from consilium.types import Completion, Image, Message

CARD = Card(
    kind="generalist",
    name="openai",
    version="1",
    summary="Any model behind an OpenAI-compatible chat endpoint. The endpoint must be on this machine unless "
    "allow_remote is given: what is sent there holds the patient's images and history.",
    licence="as the endpoint's model states",
    not_for=("option likelihoods: chat endpoints do not give them",),
)
# So narrow that every URL parser finds the same host: no user names, back-slashes or queries.
_ADDRESS = re.compile(r"https?://(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?")
_ADVICE: Mapping[int, str] = {
    400: "It refused the request: the model may take no images (sees_images=False), or the prompt is too long for it.",
    401: "It refused the key. Set CONSILIUM_OPENAI_API_KEY (or OPENAI_API_KEY).",
    403: "The key may not use this model. Check the account, or choose another model.",
    404: "It knows no such model or path. Check model and base_url (most end in /v1).",
    413: "The images are too large for it. Raise the server's limit.",
    429: "It is out of capacity or quota. Wait, or raise retries.",
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the model is and how to ask it.

    base_url      such as http://127.0.0.1:8080/v1.
    timeout_s     seconds of silence after which one try is given up.
    retries       further tries after a time-out, a lost connection, 408, 409, 429 or 5xx, after the Retry-After that the
                  server states (at most two minutes), else after 0.5 s, doubled each time up to 8 s.
    allow_remote  whether the endpoint may be another machine.
    slices        of a volume it is shown so many, 1 to 85.
    windows       CT in three windows at once as red, green and blue, for a model that learnt it so (MedGemma 1.5).
    tools         whether it takes `tools` and returns tool calls; else experts are offered, and called, in the text alone.
    """

    base_url: str | None = None
    model: str | None = None
    timeout_s: float = 120.0
    retries: int = 2
    allow_remote: bool = False
    sees_images: bool = True
    slices: int = VIEWS
    windows: bool = False
    tools: bool = False


def load(**options: Any) -> OpenAICompatible:
    """The model behind an endpoint; options are the fields of `Endpoint`. Sends nothing yet.

    The key is CONSILIUM_OPENAI_API_KEY, else OPENAI_API_KEY; servers on this machine mostly need none.
    Raises UsageError on a missing or unknown option, and on a remote base_url without allow_remote.
    """
    known = Endpoint.__dataclass_fields__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(f"openai has no option {', '.join(unknown)}; there are: {', '.join(known)}.")
    endpoint = Endpoint(**options)
    if not endpoint.base_url or not endpoint.model:
        raise UsageError("openai needs base_url=URL and model=NAME (on the command line --base-url and --model).")
    if endpoint.timeout_s <= 0 or endpoint.retries < 0:
        raise UsageError(f"timeout_s must be above 0 and retries not below 0; found {endpoint}.")
    check_count(endpoint.slices)
    host = _host(endpoint.base_url, endpoint.allow_remote)
    card = replace(CARD, version=f"{endpoint.model} at {host}")
    return OpenAICompatible(endpoint, _client(endpoint, host), card, endpoint.sees_images)


@dataclass(frozen=True)
class OpenAICompatible:
    """Asks the endpoint at temperature 0. Pictures are sent as PNG at full size, in the order of the message's parts."""

    endpoint: Endpoint
    client: Any
    card: Card
    sees_images: bool

    @property
    def slices(self) -> int:
        """How many slices of a volume it is shown."""
        return self.endpoint.slices

    @property
    def windows(self) -> bool:
        """Whether CT is shown to it in three windows at once."""
        return self.endpoint.windows

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        """The endpoint's reply; EndpointError where there is none after the retries, or it holds no text."""
        return self._ask(messages, max_tokens, {})

    def generate_with(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], max_tokens: int = 128
    ) -> Completion:
        """As `generate`, with these tools offered where the endpoint takes them. What it calls stands behind its text, a line
        '<tool_call>{"name": ..., "arguments": {...}}</tool_call>' each."""
        return self._ask(messages, max_tokens, {"tools": list(tools)} if self.endpoint.tools and tools else {})

    def _ask(self, messages: Sequence[Message], max_tokens: int, more: Mapping[str, Any]) -> Completion:
        import openai

        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}; ask for at least 1 token.")
        try:
            reply = self.client.chat.completions.create(
                model=self.endpoint.model,
                messages=[{"role": message.role, "content": self._content(message)} for message in messages],
                max_tokens=max_tokens,
                temperature=0,
                **more,
            )
        except (openai.OpenAIError, ValueError) as error:
            self._explain(error)
        return self._completion(reply)

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        """Never: raises CannotScoreError."""
        raise CannotScoreError(
            f"{self.card.version} is a chat endpoint: it gives no likelihood of a whole option. "
            "Read the option from the generated text, or take the generalist hf or smollm2."
        )

    def _content(self, message: Message) -> str | list[dict[str, Any]]:
        if not self.sees_images or all(isinstance(part, str) for part in message.parts):
            return message.text
        return [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": _data_url(part)}}
            for part in message.parts
        ]

    def _completion(self, reply: Any) -> Completion:
        # The client builds its replies without checking them, so any field may be absent or of another type.
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list) or not choices:
            self._fail(
                "replied without choices. Check that base_url ends in the path of an OpenAI-compatible API (/v1)."
            )
        message = getattr(choices[0], "message", None)
        content = getattr(message, "content", None)
        text = "\n".join([*([content] if isinstance(content, str) else []), *_called(message)])
        if not text.strip():
            reason = getattr(choices[0], "finish_reason", None)
            self._fail(f"replied without text (finish_reason {reason!r}). Raise max_tokens, or take another model.")
        tokens = getattr(getattr(reply, "usage", None), "completion_tokens", None)
        return Completion(text.strip(), tokens if isinstance(tokens, int) else 0)

    def _explain(self, error: Exception) -> NoReturn:
        import openai

        tries = f"(tries: at most {self.endpoint.retries + 1})"
        if isinstance(error, openai.APITimeoutError):
            self._fail(f"was silent for {self.endpoint.timeout_s:g} s {tries}. Raise timeout_s, or see the server.")
        if isinstance(error, openai.APIStatusError):
            advice = _ADVICE.get(error.status_code, "See the server's log.")
            self._fail(f"answered with HTTP status {error.status_code} {tries}. {advice}")
        if isinstance(error, openai.APIConnectionError):
            self._fail(f"cannot be reached {tries}. Start the server, or check base_url.")
        self._fail("replied with something that is not a chat completion in JSON. Check base_url, or see the server.")

    def _fail(self, what: str) -> NoReturn:
        # Neither the reply nor the client's error is passed on: servers quote prompts and keys in theirs.
        raise EndpointError(f"the endpoint {self.card.version} {what}") from None


def _called(message: Any) -> list[str]:
    """The tool calls of a reply as text, those that name no function left out."""
    listed = getattr(message, "tool_calls", None)
    functions = [getattr(call, "function", None) for call in listed] if isinstance(listed, list) else []
    told = [(getattr(function, "name", None), getattr(function, "arguments", None)) for function in functions]
    # The arguments are passed on as the string that came: whoever reads the call decodes and checks them.
    calls = [{"name": name, "arguments": given or {}} for name, given in told if isinstance(name, str)]
    return [f"<tool_call>{json.dumps(call, ensure_ascii=False)}</tool_call>" for call in calls]


def _client(endpoint: Endpoint, host: str) -> Any:
    import openai

    key = os.environ.get("CONSILIUM_OPENAI_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
    # A redirect, or a proxy from the environment, would carry what was meant for this machine to another.
    transport = openai.DefaultHttpxClient(follow_redirects=False, trust_env=not _is_loopback(host))
    return openai.OpenAI(
        base_url=endpoint.base_url,
        api_key=key,
        timeout=endpoint.timeout_s,
        max_retries=endpoint.retries,
        http_client=transport,
    )


def _host(base_url: str, allow_remote: bool) -> str:
    address = _ADDRESS.fullmatch(base_url)
    if address is None:
        raise UsageError(f"base_url {base_url!r} is no address of a server; one looks like http://127.0.0.1:8080/v1.")
    host = address["host"].strip("[]")
    if not allow_remote and not _is_loopback(host):
        raise UsageError(
            f"base_url names {host}, another machine: the patient's images and history would leave this one. "
            "Give allow_remote=True (--allow-remote) if they may."
        )
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _data_url(image: Image) -> str:
    import PIL.Image

    from consilium.imaging.window import to_display

    file = io.BytesIO()
    PIL.Image.fromarray(to_display(image)).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
