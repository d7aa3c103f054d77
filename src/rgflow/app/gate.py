"""Who may ask the server for something, and how much may be sent: checked in front of all routes.

In this order, before any of the body is read:

1. `Host` must be a name of the server. Otherwise a page of a stranger could have its own name lead
   to this machine and read what it likes (DNS rebinding).
2. The request must come from a page of this server, by `Origin` and `Sec-Fetch-Site`. A link from
   elsewhere may lead here; nothing else from other pages is answered.
3. User and password must be right, if the server asks for them; `/health` is open.
4. Whatever isn't GET, HEAD or OPTIONS needs an `Origin`, and the cookie that answers to other
   requests set: random, signed with a key of this process, `HttpOnly` and `SameSite=Strict`. It
   also tells visitors apart.
5. The body must be within the limit of its route, by `Content-Length` and as it arrives. It is JSON
   with finite numbers of 64 bits, except where files are sent.

Programs do as browsers do: `curl --cookie-jar jar http://127.0.0.1:7860/`, and from then on
`curl --cookie jar --header 'Origin: http://127.0.0.1:7860'`.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
from base64 import b64encode
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import NamedTuple

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from h11 import LocalProtocolError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rgflow.reading import DamagedError, json_in

OPEN = "/health"
"""The route that asks nobody for a password."""
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
NO_COOKIE = 428
"""Status of an answer that sets the cookie that was missing."""
MAX_BODY = 1_000_000
"""Bytes of a body where no other limit is given: what the page of latents sends has some kB."""
MAX_BUFFERED = 1 << 24
"""Bytes of a body that is read before its route sees any of it; files beyond are passed on."""
FORM = 1 << 16
"""Bytes of a form besides its file."""
CLOSE = {"Connection": "close"}
"""Header of refusals, so that the rest isn't read."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", re.ASCII)
"""A name or an address, and the port unless it is the usual one."""


class Limit(NamedTuple):
    """What may be sent to a route.

    Attributes:
        most: Bytes at the most.
        files: Whether as a form with a file, rather than as JSON.
    """

    most: int
    files: bool = False


class Gate:
    """ASGI middleware that lets through what the description of this module says.

    Args:
        app: The application behind it.
        hosts: Names and addresses of the server, without port.
        addresses: Whether any IP address is one as well, as no name leads there.
        public: The name, and the port unless it is the usual one, at which a proxy shows the page.
        auth: User and password, if the server asks for them.
        limits: Of what is sent to routes whose paths match these patterns.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str],
        addresses: bool = False,
        public: str = "",
        auth: tuple[str, str] | None = None,
        limits: Mapping[str, Limit] | None = None,
    ) -> None:
        self.app, self.addresses, self.public = app, addresses, public.lower()
        self.hosts = {one.lower() for one in hosts} | {_name(self.public)} - {""}
        self.limits = {re.compile(path): most for path, most in (limits or {}).items()}
        self.login = auth and b"Basic " + b64encode(":".join(auth).encode())
        self.key = secrets.token_bytes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # no page uses any
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        _, port = scope.get("server") or ("", 0)
        cookie = f"rgflow-{port}"  # browsers share cookies among ports
        visitor, _, proof = request.cookies.get(cookie, "").rpartition(".")
        known = bool(visitor) and hmac.compare_digest(proof.encode(), self._proof(visitor).encode())
        scope["visitor"] = visitor = visitor if known else secrets.token_urlsafe(16)

        async def put(message: Message) -> None:
            with suppress(LocalProtocolError):  # uvicorn has refused the body meanwhile, and closed
                await send(message)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not known and scope["path"] != OPEN:
                secure = "; Secure" if scope["scheme"] == "https" else ""
                value = f"{cookie}={visitor}.{self._proof(visitor)}; Path=/; HttpOnly"
                header = (b"set-cookie", f"{value}; SameSite=Strict{secure}".encode())
                message = {**message, "headers": [*message["headers"], header]}
            await put(message)

        try:
            self._check(request, known)
            body = await self._body(request)
        except HTTPException as refused:
            headers = {**CLOSE, **(refused.headers or {})}
            response = JSONResponse({"detail": refused.detail}, refused.status_code, headers)
            await response(scope, receive, answer if refused.status_code == NO_COOKIE else put)
            return
        await self.app(scope, body, answer)

    def _proof(self, visitor: str) -> str:
        return hmac.new(self.key, visitor.encode(), hashlib.sha256).hexdigest()

    def _check(self, request: Request, known: bool) -> None:
        """Refuse a request that isn't from here, or not from a user."""
        headers, path = request.headers, request.scope["path"]
        changing = request.method not in SAFE
        hosts = [one.lower() for one in headers.getlist("host")]
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            raise HTTPException(
                421,
                f"Expected a name of this server; got {', '.join(hosts)[:80] or 'none'}: "
                f"start it with --name, if it has this one.",
            )
        origin = headers.get("origin")
        own = {f"{way}://{at}" for way in ("http", "https") for at in (hosts[0], self.public) if at}
        foreign = changing if origin is None else origin.lower() not in own
        if headers.get("sec-fetch-site") not in (None, "same-origin", "none"):
            foreign |= changing or headers.get("sec-fetch-dest") != "document"  # not a link
        if foreign:
            given = f"of {origin[:80]}" if origin else "without an Origin"
            raise HTTPException(
                403,
                f"Expected a request from a page of this server; got one {given}: open the page "
                f"itself, and start the server with --name behind a proxy.",
            )
        sent = headers.get("authorization", "").encode()
        if self.login and path != OPEN and not hmac.compare_digest(sent, self.login):
            ask = {"WWW-Authenticate": 'Basic realm="rgflow", charset="UTF-8"'}
            raise HTTPException(401, "Expected user and password.", ask)
        if changing and not known:
            raise HTTPException(NO_COOKIE, "Expected the cookie of this server: do that again.")

    def _is_own(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        name = _name(host)
        return name in self.hosts or is_local(name) or (self.addresses and is_address(name))

    async def _body(self, request: Request) -> Receive:
        """What gives the application its body, once that is checked."""
        path = request.scope["path"]
        limit = next((of for at, of in self.limits.items() if at.fullmatch(path)), Limit(MAX_BODY))
        most = limit.most + FORM * limit.files
        length = request.headers.get("content-length", "0")
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await request.receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise _too_large(limit)
            return message

        if not length.isdecimal() or int(length[:20]) > most:
            raise _too_large(limit)
        if request.method in SAFE or most > MAX_BUFFERED + FORM:
            return counted
        parts, more = [], True
        while more:
            message = await counted()
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "Expected a whole request; got a part.")
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        content = b"".join(parts)
        if content and not limit.files:
            try:
                json_in(content, finite=True)
            except DamagedError as error:
                raise HTTPException(422, f"Expected JSON; {error}.") from error
        whole: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await request.receive()

        return replayed


def _too_large(limit: Limit) -> HTTPException:
    what, most = "a file" if limit.files else "a request", limit.most / 1e6
    return HTTPException(413, f"Expected {what} of at most {most:.3g} MB; got more.", CLOSE)


def _name(host: str) -> str:
    """The name or address in a `Host` header; empty if it isn't one."""
    found = HOST.fullmatch(host)
    return found[1].strip("[]") if found else ""


def is_address(name: str) -> bool:
    """Whether something is an IP address rather than a name."""
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def is_local(name: str) -> bool:
    """Whether a name or an address is of this machine alone."""
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)
