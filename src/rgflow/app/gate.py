"""Who may ask the server for something, and how much may be sent: checked in front of all routes.

In this order, before any of the body is read:

1. `Host` must be a name of the server. Otherwise a page of a stranger could have its own name lead
   to this machine and read what it likes (DNS rebinding).
2. The request must come from a page of this server, by `Origin` and `Sec-Fetch-Site`. A link from
   elsewhere may lead here; nothing else from other pages is answered.
3. User and password must be right, if the server asks for them; `/health` is open.
4. Whatever isn't GET, HEAD or OPTIONS needs an `Origin`, and the cookie that answers to other
   requests set: random, signed with a key of this server, `HttpOnly` and `SameSite=Strict`. It
   also tells visitors apart.
5. The body must be within the limit of its route, by `Content-Length` and as it arrives, and is a
   form with a file, or JSON with finite numbers of 64 bits.

Programs do as browsers do: `curl --cookie-jar jar http://127.0.0.1:7860/`, and from then on
`curl --cookie jar --header 'Origin: http://127.0.0.1:7860'`.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from base64 import b64encode
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress

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
"""Bytes of a body that is read before its route sees any of it; larger ones are passed on."""
MAX_FILES, MAX_FILES_OF_ALL, KEPT_SECONDS = 200_000_000, 2_000_000_000, 3600.0
"""Bytes of files that one visitor and that all may upload while the page of latents keeps them."""
COOKIE_SECONDS = 86400 * 400
"""How long a browser keeps the cookie: the longest that browsers allow."""
CLOSE = {"Connection": "close"}
"""Header of refusals, so that the rest isn't read."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", re.ASCII)
"""A name or an address, and the port unless it is the usual one."""


class Gate:
    """ASGI middleware that lets through what the description of this module says.

    Args:
        app: The application behind it.
        hosts: Names and addresses of the server, without port.
        public: The name, and the port unless it is the usual one, at which a proxy shows the page.
        auth: User and password, if the server asks for them.
        limits: Bytes of a body for routes whose paths match these patterns.
        key: Signs cookies; by default a new one.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str],
        public: str = "",
        auth: tuple[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        key: bytes | None = None,
    ) -> None:
        self.app, self.public = app, public.lower()
        self.hosts = {one.lower() for one in hosts} | {_name(self.public)} - {""}
        self.addresses = not all(map(is_local, hosts))  # no name of a stranger is an address
        self.limits = limits or {}
        self.login = auth and b"Basic " + b64encode(":".join(auth).encode())
        self.key = key or secrets.token_bytes()
        # Browsers share cookies among ports.
        self.cookie = f"rgflow-{hashlib.sha256(self.key).hexdigest()[:12]}"
        self.files = deque[tuple[float, str, int]]()  # when, whose, and how many bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] == "websocket":  # no page uses any
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return
        request, cookie = Request(scope, receive), self.cookie
        visitor, _, proof = request.cookies.get(cookie, "").rpartition(".")
        known = hmac.compare_digest(proof.encode(), self._proof(visitor))
        scope["visitor"] = visitor = visitor if known else secrets.token_urlsafe(16)

        async def put(message: Message) -> None:
            with suppress(LocalProtocolError):  # uvicorn has refused the body meanwhile, and closed
                await send(message)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not known and scope["path"] != OPEN:
                value = f"{cookie}={visitor}.{self._proof(visitor).decode()}; Path=/; HttpOnly; "
                value += f"Max-Age={COOKIE_SECONDS}; SameSite=Strict" + (
                    "; Secure" if scope["scheme"] == "https" else ""
                )
                headers = [*message["headers"], (b"set-cookie", value.encode())]
                message = {**message, "headers": headers}
            await put(message)

        try:
            self._check(request, known)
            body = await self._body(request)
        except HTTPException as refused:
            headers = {**CLOSE, **(refused.headers or {})}
            response = JSONResponse({"detail": refused.detail}, refused.status_code, headers)
            await response(scope, receive, answer if refused.status_code == NO_COOKIE else put)
        else:
            await self.app(scope, body, answer)

    def _proof(self, visitor: str) -> bytes:
        return hmac.new(self.key, visitor.encode(), "sha256").hexdigest().encode()

    def _check(self, request: Request, known: bool) -> None:
        """Refuse a request that isn't from here, or not from a user."""
        headers, changing = request.headers, request.method not in SAFE
        hosts = [one.lower() for one in headers.getlist("host")]
        name = _name(hosts[0]) if len(hosts) == 1 else ""
        if not (name in self.hosts or is_local(name) or (self.addresses and _address(name))):
            said = ", ".join(hosts)[:80] or "none"
            why = f"got {said}: start it with --name, if it has this one."
            raise HTTPException(421, f"Expected a name of this server; {why}")
        origin = headers.get("origin")
        own = {f"{way}://{at}" for way in ("http", "https") for at in (hosts[0], self.public) if at}
        foreign = changing if origin is None else origin.lower() not in own
        if headers.get("sec-fetch-site") not in (None, "same-origin", "none"):
            foreign |= changing or headers.get("sec-fetch-dest") != "document"  # not a link
        if foreign:
            why = f"got one of {origin[:80]}" if origin else "got one without an Origin"
            why += ": open the page itself, and start the server with --name behind a proxy."
            raise HTTPException(403, f"Expected a request from a page of this server; {why}")
        way, _, proof = headers.get("authorization", "").partition(" ")
        given, login = f"{way.capitalize()} {proof}".encode(), self.login
        if login and request.scope["path"] != OPEN and not hmac.compare_digest(given, login):
            ask = {"WWW-Authenticate": 'Basic realm="rgflow", charset="UTF-8"'}
            raise HTTPException(401, "Expected user and password.", ask)
        if changing and not known:
            raise HTTPException(NO_COOKIE, "Expected the cookie of this server: do that again.")

    async def _body(self, request: Request) -> Receive:
        """What gives the application its body, once that is checked."""
        path, taken = request.scope["path"], 0
        most = next((most for at, most in self.limits.items() if re.fullmatch(at, path)), MAX_BODY)
        large = HTTPException(413, f"Expected at most {most / 1e6:.0f} MB; got more.", CLOSE)

        async def counted() -> Message:
            nonlocal taken
            message = await request.receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise large
            return message

        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > most:
            raise large
        if request.method in SAFE or most > MAX_BUFFERED:
            return counted
        content, more = bytearray(), True
        while more:
            message = await counted()
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "Expected a whole request; got a part.")
            content += message.get("body", b"")
            more = message.get("more_body", False)
        if content and "multipart/form-data" not in request.headers.get("content-type", ""):
            try:
                json_in(bytes(content), finite=True)
            except DamagedError as error:
                raise HTTPException(422, f"Expected JSON; {error}.") from error
        elif content:
            self._count(request.scope["visitor"], len(content))
        whole: list[Message] = [{"type": "http.request", "body": bytes(content)}]

        async def replayed() -> Message:
            return whole.pop() if whole else await request.receive()

        return replayed

    def _count(self, visitor: str, size: int) -> None:
        """Count the bytes of a file; raise an `HTTPException` if there are too many."""
        now = time.monotonic()
        while self.files and self.files[0][0] < now - KEPT_SECONDS:
            self.files.popleft()
        of_all = size + sum(each for _, _, each in self.files)
        own = size + sum(each for _, whose, each in self.files if whose == visitor)
        if own > MAX_FILES or of_all > MAX_FILES_OF_ALL:
            raise HTTPException(429, "Expected fewer files within an hour: wait for a while.")
        self.files.append((now, visitor, size))


def _name(host: str) -> str:
    """The name or address in a `Host` header; empty if it isn't one."""
    found = HOST.fullmatch(host)
    return found[1].strip("[]") if found else ""


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def is_local(name: str) -> bool:
    """Whether a name or an address is of this machine alone."""
    address = _address(name)
    return name == "localhost" or bool(address and address.is_loopback)
