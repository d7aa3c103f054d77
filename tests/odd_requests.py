"""What strangers, broken programs and pages from elsewhere ask the page's server, byte by byte.

Somebody has a photograph open meanwhile. Right is an answer below 500 within seconds, and of what
comes from elsewhere a refusal that leaves nothing on the disk; afterwards the server answers, and
the photograph is as it was.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cases import MEMORY, SECONDS, Found, Random, Stage, forget_most, memory_of
from odd_pictures import good, picture
from visitors import free_port

AUTH = ("user", "pass:word")
"""Of the server that asks for it."""
BODY = 1 << 20
"""Bytes of an answer that are read."""
HUGE = 10**12
"""Bytes that a request claims to have."""


@dataclass(kw_only=True)
class Sent:
    """A request.

    Attributes:
        change: What is odd about it.
        content: Its bytes.
        refused: Whether it has to be, as it comes from elsewhere or without a login.
        whole: Whether it is complete; what isn't may go unanswered.
    """

    change: str
    content: bytes
    refused: bool = False
    whole: bool = True


@dataclass(eq=False)
class Requests:
    """A kind of case.

    Args:
        name: What it is called.
        login: Whether the server asks for user and password.
    """

    name: str
    login: bool = False
    _server: "Server | None" = field(default=None, repr=False)

    def carry_out(self, stage: Stage, folder: Path, random: Random) -> Found:
        """The request of random numbers."""
        server = self._server
        if server is None or server.owner != os.getpid() or not server.works():
            self.end()
            server = self._server = Server(stage, AUTH if self.login else None)
        server.renew()
        sent = request(server, random)
        spooled, said = server.spooled(), server.said()
        forget_most(server.process)
        before, start = memory_of(server.process, "VmRSS"), time.perf_counter()
        status, answer = server.answer(sent.content, cut=not sent.whole)
        seconds = time.perf_counter() - start
        result, about = judged(sent, status, answer, seconds)
        memory = 0
        with contextlib.suppress(OSError, StopIteration):
            memory = memory_of(server.process, "VmHWM") - before
        new = server.said()[len(said) :]
        if result in ("other", "sentence"):
            if memory > MEMORY:
                result, about = "memory", f"{memory >> 20} MiB"
            elif not server.works():
                result, about = "server", "it doesn't answer any more"
            elif "Traceback" in new:
                result, about = "traceback", new
            elif why := server.lost():
                result, about = "server", why
            elif sent.refused and server.spooled() - spooled:
                result, about = "let in", f"it left {server.spooled() - spooled}"
        if result not in ("other", "sentence"):
            about += f" [{sent.content[:600]!r}]"
            self.end()
        return Found(change=sent.change, result=result, said=about, seconds=seconds, memory=memory)

    def end(self) -> None:
        """End the server."""
        if self._server and self._server.owner == os.getpid():
            self._server.end()
        self._server = None


def judged(sent: Sent, status: int, answer: bytes, seconds: float) -> tuple[str, str]:
    """The result of a request, and what is wrong."""
    about = f"status {status}: {answer[:300]!r}"
    if seconds > SECONDS:
        return "slow", about
    if not status:
        return ("sentence", "") if not sent.whole or sent.refused else ("server", "no answer")
    if status >= 500:
        return "server", about
    if b"Traceback" in answer:
        return "traceback", about
    if status >= 400:
        return "sentence", about
    if sent.refused and not 300 <= status < 400:
        return "let in", about
    return "other", about


class Server:
    """The page's server, in a fork of this process, with a folder of temporary files of its own.

    Args:
        stage: Where the model is.
        auth: User and password that it asks for.
    """

    def __init__(self, stage: Stage, auth: tuple[str, str] | None) -> None:
        from rgflow.app.server import serve

        self.owner, self.auth = os.getpid(), auth
        self.folder = Path(tempfile.mkdtemp(dir=stage.folder))
        self.port, self.log = free_port(), self.folder / "said.txt"
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir()
        self.process = os.fork()
        if not self.process:
            try:
                os.environ["TMPDIR"] = str(self.temporary)
                os.environ["XDG_DATA_HOME"] = str(self.folder / "data")
                tempfile.tempdir = None
                os.chdir(self.folder)
                with self.log.open("w") as file:
                    sys.stdout = sys.stderr = file
                    for stream in (1, 2):
                        os.dup2(file.fileno(), stream)
                    serve(str(stage.folder / "model"), port=self.port, auth=auth)
            finally:
                os._exit(0)
        deadline = time.monotonic() + 60
        while not self.works():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        self.mine, self.cookie = self._cookie(), self._cookie()
        self.photo = self._opened(self.mine)
        self.digest = self._export()
        self.target = self._opened(self.cookie)

    @property
    def host(self) -> str:
        """As a browser says it."""
        return f"127.0.0.1:{self.port}"

    @property
    def login(self) -> str:
        """The header with user and password; empty if it asks for none."""
        if not self.auth:
            return ""
        return f"Authorization: Basic {base64.b64encode(':'.join(self.auth).encode()).decode()}\r\n"

    def headers(self, cookie: str) -> str:
        """Of a request of the page itself."""
        cookie = f"Cookie: {cookie}\r\n" if cookie else ""
        return f"Host: {self.host}\r\nOrigin: http://{self.host}\r\n{cookie}{self.login}"

    def answer(
        self, content: bytes, *, headers: bool = False, cut: bool = False
    ) -> tuple[int, bytes]:
        """The status, 0 without an answer, and what is answered to some bytes.

        Args:
            content: The bytes.
            headers: Whether headers are returned as well.
            cut: Whether nothing is sent or waited for after these.
        """
        found = b""
        with contextlib.suppress(OSError), socket.create_connection(
            ("127.0.0.1", self.port), SECONDS
        ) as one:  # fmt: skip
            one.settimeout(SECONDS + 1)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                one.sendall(content)
                if cut:
                    one.shutdown(socket.SHUT_WR)
            while len(found) < BODY and (piece := one.recv(1 << 16)):
                found += piece
                if b"text/event-stream" in found:  # which doesn't end
                    break
        while found.startswith(b"HTTP/1.1 1"):  # before the answer itself
            found = found.partition(b"\r\n\r\n")[2]
        head, _, body = found.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.\d (\d{3})", head)
        return int(status[1]) if status else 0, found if headers else body

    def works(self) -> bool:
        """Whether it answers."""
        head = f"GET /health HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n"
        return self.answer(head.encode())[0] == 200

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def spooled(self) -> set[str]:
        """Temporary files that it has."""
        return {
            os.path.join(place, name)
            for place, _, files in os.walk(self.temporary)
            for name in files
        }

    def lost(self) -> str:
        """What became of the photograph that somebody had opened; empty: it is as it was."""
        digest = self._export()
        return "" if digest == self.digest else f"the photograph is {digest[:80]}"

    def end(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)

    def renew(self) -> None:
        """Open a photograph for the requests, if theirs has been closed."""
        head = f"GET /photographs/{self.target} HTTP/1.1\r\n{self.headers(self.cookie)}"
        if self.answer(f"{head}Connection: close\r\n\r\n".encode())[0] != 200:
            self.target = self._opened(self.cookie)

    def _cookie(self) -> str:
        """The cookie of somebody who opens the page; empty if it sets none."""
        head = f"GET / HTTP/1.1\r\nHost: {self.host}\r\n{self.login}Connection: close\r\n\r\n"
        _, answer = self.answer(head.encode(), headers=True)
        found = re.search(rb"set-cookie: ([^;\r]+)", answer, re.I)
        return found[1].decode() if found else ""

    def _opened(self, cookie: str) -> str:
        """The name of a photograph that is sent."""
        body, kind = form(GOOD, "mine.png")
        head = f"POST /photographs HTTP/1.1\r\n{self.headers(cookie)}Content-Type: {kind}\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        status, answer = self.answer(head.encode() + body)
        assert status == 200, (status, answer)
        return str(json.loads(answer)["id"])

    def _export(self) -> str:
        head = f"GET /photographs/{self.photo}/export HTTP/1.1\r\n{self.headers(self.mine)}"
        status, answer = self.answer(f"{head}Connection: close\r\n\r\n".encode())
        return hashlib.sha256(answer).hexdigest() if status == 200 else f"status {status}"


# ---------------------------------------------------------------- requests


def some(of: Any, random: Random) -> Any:
    """One of several."""
    return of[random.integers(len(of))]


def form(
    content: bytes, name: str = "a.png", field_name: str = "file", mark: str = "MARK"
) -> tuple[bytes, str]:
    """A form with a file, and its type."""
    head = f'--{mark}\r\nContent-Disposition: form-data; name="{field_name}"; filename="{name}"\r\n'
    body = f"{head}Content-Type: image/png\r\n\r\n".encode("utf-8", "surrogateescape") + content
    return body + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


GOOD = good(np.random.default_rng(0))
"""A picture."""
VALUES: list[Any] = [
    float("nan"), float("inf"), 2**70, 1e12, 10**12, -1, -(2**70), 1e-320, 1e308, "x", "1", "",
    None, True, [], {}, [[]], "\ud800", "a" * 10_000, "data:image/png;base64,AAAA", 0, 1, 7, 300,
]  # fmt: skip
FIELDS = [
    "top", "left", "height", "width", "mask", "temperature", "levels", "down", "zoom", "seed",
    "count", "sensitivity", "factor", "x",
]  # fmt: skip
TASKS = ["repair", "find", "surprise", "complete", "redraw", "enlarge", "copied", "parts"]
TASKS += ["steps", "infrared", "none"]
TEXTS = [
    b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"NaN",
    b'{"top": 1, "top": 2}', b"9" * 5000, b'{"seed": ' + b"9" * 5000 + b"}", b'"' + b"x" * 900_000,
    b"{}" * 10, b'{"mask": "' + b"A" * 900_000 + b'"}',
]  # fmt: skip


def body_of_json(random: Random) -> bytes:
    """JSON as no page sends it."""
    if random.random() < 0.4:
        return bytes(some(TEXTS, random))
    region: dict[str, Any] = {"top": 0, "left": 0, "height": 8, "width": 8}
    for _ in range(random.integers(0, 3)):
        region[some(FIELDS, random)] = some(VALUES, random)
    if random.random() < 0.2:
        _, _, content = picture(random)
        region["mask"] = "data:image/png;base64," + base64.b64encode(content[:60_000]).decode()
    return json.dumps(region).encode()


def body_of_form(random: Random, name: str) -> tuple[bytes, str]:
    """A form as no page sends it."""
    _, _, content = picture(random)
    kind = some(
        ["whole", "whole", "whole", "cut", "other mark", "no mark", "parts", "name", "field",
         "twice", "no name", "empty", "heads", "encoded"],
        random,
    )  # fmt: skip
    body, type_ = form(content, field_name=name)
    if kind == "cut":
        body = body[: random.integers(len(body))]
    elif kind == "other mark":
        type_ = "multipart/form-data; boundary=OTHER"
    elif kind == "no mark":
        type_ = some(
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/x"], random
        )
    elif kind == "parts":
        part = b'--MARK\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
        body = part * int(random.integers(900, 12_000)) + body
    elif kind == "name":
        names = [
            "../../x.png",
            "/etc/passwd",
            "a" * 5000,
            "a\0b.png",
            "\udcff.png",
            "=x",
            "<b>.png",
        ]
        body, type_ = form(content, some(names, random), name)
    elif kind == "field":
        body, type_ = form(content, field_name="other")
    elif kind == "twice":
        body = body.removesuffix(b"--\r\n") + b"\r\n" + body
    elif kind == "no name":
        body = body.replace(b'; filename="a.png"', b"", 1)
    elif kind == "empty":
        body = b"--MARK--\r\n"
    elif kind == "heads":
        body = body.replace(b"Content-Type", b"X: " + b"y" * 100_000 + b"\r\nContent-Type", 1)
    elif kind == "encoded":
        body = body.replace(
            b"Content-Type", b"Content-Transfer-Encoding: base64\r\nContent-Type", 1
        )
    return body, type_


PATHS = [
    "/", "/health", "/favicon.ico", "/photographs", "/photographs/{}", "/photographs/other",
    "/photographs/{}/tile?row=0&column=0&zoom=0", "/photographs/{}/tile?row=1e9&column=0&zoom=0",
    "/photographs/{}/tile?row=99999999999999999999&column=0&zoom=0", "/photographs/{}/tile?row=0",
    "/photographs/{}/tile?row=0&column=0&zoom=0&level=12", "/photographs/{}/export?like=maybe",
    "/photographs/{}/export?like=true", "/latents/", "/latents/config", "/latents/theme.css",
    "/latents/gradio_api/info", "/latents/gradio_api/file=/etc/passwd",
    "/latents/gradio_api/file=../../../../etc/passwd", "/latents/file=/etc/passwd",
    "/latents/gradio_api/upload_progress?upload_id=x",
    "/latents/gradio_api/queue/data?session_hash=x",
    "/latents/gradio_api/heartbeat/x", "/latents/gradio_api/queue/status", "/latents/monitoring",
    "/../../etc/passwd", "//", "/%00", "/photographs/..%2f..%2fetc", "/photographs/%ff", "/\x7f",
    "/" + "x" * 60_000, "/photographs/{}/tile?" + "a=1&" * 20_000, "*", "http://evil.example/",
    "/openapi.json", "/docs", "/latents/gradio_api/proxy=http://evil.example/",
    "/latents/gradio_api/stream/x/y/z/playlist.m3u8", "/latents/gradio_api/startup-events",
]  # fmt: skip
POSTS = [
    "/photographs/examples/none", "/photographs/{}/stop", "/photographs/{}/take/0",
    "/photographs/{}/take/99999999999999999999", "/photographs/{}/take/-1",
    "/photographs/other/repair", "/photographs/{}/close/none", "/latents/gradio_api/queue/join",
    "/latents/gradio_api/run/predict", "/latents/gradio_api/api/predict", "/latents/login",
    "/latents/gradio_api/reset", "/latents/gradio_api/cancel", "/", "/health",
    "/latents/gradio_api/component_server", "/latents/gradio_api/call/x",
]  # fmt: skip
HOSTS = [
    "evil.example", "evil.example:{}", "127.0.0.1.evil.example:{}", "127.0.0.1:{}@evil.example",
    "127.0.0.1:{}, evil.example", "evil.example#127.0.0.1:{}", "", "0x7f000001.evil.example",
    "localhost.evil.example:{}", "x" * 5000, "127.0.0.1:{}/evil.example",
    "évil.example", "127.0.0.1:{}\\evil.example",
]  # fmt: skip
"""Which aren't of this server."""
ORIGINS = [
    "null", "http://evil.example", "https://evil.example:{}", "http://127.0.0.1.evil.example:{}",
    "http://127.0.0.1:1", "http://localhost.evil.example:{}", "file://", "http://evil@127.0.0.1:1",
    "",
]  # fmt: skip
"""Of pages from elsewhere."""


def usual(server: Server, random: Random) -> tuple[str, str, bytes, str]:
    """A request of the page: method, path, body, and type of the body."""
    name = some(["file", "files"], random)
    body, kind = form(GOOD, field_name=name)
    gets = ["/", "/photographs/{}", "/photographs/{}/export", "/latents/", "/latents/config"]
    every = [
        ("GET", some(gets, random).format(server.target), b"", ""),
        ("POST", "/photographs" if name == "file" else "/latents/gradio_api/upload", body, kind),
        ("POST", "/photographs/examples/scratches", b"", ""),
        ("POST", f"/photographs/{server.target}/stop", b"", ""),
    ]
    return every[random.integers(len(every))]


def request(server: Server, random: Random) -> Sent:
    """Any request."""
    if random.random() < 0.2:  # right but for where it comes from
        return _framed(server, random, *usual(server, random), 0.7 * random.random())
    page = random.random()
    method, path, body, kind = "GET", some(PATHS, random), b"", ""
    if page < 0.3:  # a computation
        method, path = "POST", f"/photographs/{{}}/{some(TASKS, random)}"
        body, kind = body_of_json(random), "application/json"
    elif page < 0.55:  # an upload
        method = "POST"
        path, name = some(
            [("/photographs", "file"), ("/photographs/{}/infrared", "file"),
             ("/photographs/{}/steps", "file"),
             ("/latents/gradio_api/upload", "files"), ("/latents/gradio_api/upload?upload_id=x",
             "files")],
            random,
        )  # fmt: skip
        body, kind = body_of_form(random, name)
    elif page < 0.75:
        method, path = "POST", some(POSTS, random)
        body, kind = body_of_json(random), "application/json"
        if "queue/join" in path and random.random() < 0.7:
            odd = {"data": [some(VALUES, random)] * int(random.integers(0, 4)), "session_hash": "x"}
            body = json.dumps(odd | {"fn_index": some([0, 1, 5, 10**6, -1, "x"], random)}).encode()
    elif page < 0.8:
        method = some(["PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "PATCH", "FOO", "get"], random)
    if kind == "application/json" and random.random() < 0.1:
        kind = some(["text/plain", "", "application/json; charset=utf-16", "image/png"], random)
    path = path.format(server.target) if path.count("{}") == 1 else path
    return _framed(server, random, method, path, body, kind, random.random())


def _framed(
    server: Server, random: Random, method: str, path: str, body: bytes, kind: str, dice: float
) -> Sent:
    """A request in headers, which may be odd as well, or of a page from elsewhere."""
    change, refused, whole = f"{method} {path[:60]}", False, True
    host, origin = server.host, f"http://{server.host}"
    cookie, login, hosts = server.cookie, server.login, 1
    if dice < 0.12:
        host, refused = some(HOSTS, random).format(server.port), True
        change += f" to {host[:60]}"
        if random.random() < 0.5:
            origin = f"http://{host}"
    elif dice < 0.24:
        origin = some(ORIGINS, random).format(server.port)
        refused = method not in ("GET", "HEAD", "OPTIONS") and origin != ""
        change += f" of {origin}"
    elif dice < 0.27:
        hosts, refused = some([0, 2], random), True
        change += f" to {hosts} hosts"
    elif dice < 0.32:
        cookie = some(["", "x=y", f"rgflow-{server.port}=a.b", "a" * 5000, "=;=;"], random)
        change += f", cookie {cookie[:20]!r}"
    elif server.auth and dice < 0.6:
        login, refused = some(
            ["", "Authorization: Basic AAAA\r\n", "Authorization: Bearer x\r\n",
             "Authorization: Basic \xff\r\n", f"Authorization: Basic {'A' * 9000}\r\n"],
            random,
        ), path != "/health"  # fmt: skip
        change += ", no login"
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"Host: {one}" for one in [host, "evil.example"][:hosts]]
    lines += [f"Origin: {origin}"] if origin else []
    lines += [f"Cookie: {cookie}"] if cookie else []
    lines += [f"Content-Type: {kind}"] if kind else []
    length, chunked = str(len(body)), False
    odd = random.random()
    if odd < 0.05:
        length = some([str(HUGE), str(HUGE), "-1", "x", "1e3", "9" * 400, "+5", "0x10"], random)
        change += f", length {length[:20]}"
    elif odd < 0.1 and body:
        body, whole = body[: random.integers(len(body))], False
        change += ", cut"
    elif odd < 0.15:
        chunked = True
        change += ", chunked"
    elif odd < 0.2:
        lines += some(
            [["X: " + "y" * 70_000], [f"X{k}: y" for k in range(3000)], ["X\0: y"], [": y"],
             ["Range: bytes=0-99999999999999999999"], ["Expect: 100-continue"],
             ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
              "Sec-WebSocket-Key: AAAA"],
             ["X-Forwarded-Host: evil.example", "X-Forwarded-Proto: x"], ["Accept-Encoding: \xff"],
             ["If-None-Match: " + "a," * 5000]],
            random,
        )  # fmt: skip
        change += f", {lines[-1][:30]!r}"
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = _chunks(body, random)
        whole = False
    elif body or method not in ("GET", "HEAD", "OPTIONS") or length != "0":
        lines.append(f"Content-Length: {length}")
    lines.append("Connection: close")
    text = "\r\n".join(lines) + "\r\n" + login
    content = text.encode("utf-8", "surrogateescape") + b"\r\n" + body
    return Sent(change=change, content=content, refused=refused, whole=whole)


def _chunks(body: bytes, random: Random) -> bytes:
    """A body in chunks, rightly or not."""
    size = int(random.integers(1, 5000))
    parts = [body[k : k + size] for k in range(0, len(body), size)]
    whole = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return bytes(
        some(
            [whole, whole, whole, whole[: len(whole) // 2], b"-1\r\n\r\n",
             b"ffffffffffffffffff\r\n", b"x\r\n", b"5\r\nab\r\n0\r\n\r\n"],
            random,
        )
    )  # fmt: skip


REQUESTS: list[tuple[Requests, int]] = [
    (Requests("request"), 6),
    (Requests("request where a login is asked for", login=True), 2),
]
"""And how often each comes, for every time that a damaged file does."""
