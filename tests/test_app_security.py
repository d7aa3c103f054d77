"""The page as a server: whom it answers, and how much it takes, by raw HTTP and in Chromium."""

import base64
import http.server
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

from fastapi import FastAPI, HTTPException, testclient
from starlette.requests import Request
from starlette.routing import Mount
from starlette.websockets import WebSocketDisconnect

from rgflow.app import album, gate
from rgflow.app.album import Album
from rgflow.app.gate import Gate
from rgflow.app.scratch import projects
from rgflow.app.server import make_app
from rgflow.photographs.pictures import Picture, image_of
from visitors import BROWSER, FAST_SETTINGS, FLAGS, TIMEOUT, process_of, program, serving

LOGIN = "Basic " + base64.b64encode(b"me:pass").decode()


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """The folder for temporary files of the server."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(tmp_path_factory, temporary):
    """The address of a server that asks for a password."""
    elsewhere = f"import tempfile\ntempfile.tempdir = {str(temporary)!r}\n{FAST_SETTINGS}"
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, "--auth", "me:pass", before=elsewhere) as found:
        yield found


def ask(address, method, path, body=b"", **headers):
    """Status, headers and text of an answer to a user, whose headers are the usual ones."""
    at = address.removeprefix("http://")
    sent = {"Host": at, "Authorization": LOGIN, "Content-Length": str(len(body))}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = [f"{name}: {value}" for name, value in sent.items() if value is not None]
    with socket.create_connection(at.split(":"), timeout=TIMEOUT) as line:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *head, "Connection: close", "", ""])
        line.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), text.decode(errors="replace")


@pytest.fixture(scope="module")
def own(server):
    """What a page of the server sends with every request."""
    _, head, _ = ask(server, "GET", "/photographs")
    cookie = re.search(r"set-cookie: ([^;]+);(.*)", head, re.IGNORECASE)
    assert "HttpOnly" in cookie[2]
    assert "SameSite=Strict" in cookie[2]
    return {"Origin": server, "Cookie": cookie[1]}


def form(content, name="file"):
    """A form with a file, and the header that says so."""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="x.png"\r\n\r\n'
    return head.encode() + content + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def picture(width=64, height=48):
    content = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(content, "PNG")
    return content.getvalue()


def opened(server, own, content=None):
    body, kind = form(content or picture())
    status, _, text = ask(server, "POST", "/photographs", body, Content_Type=kind, **own)
    assert status == 200, text
    return json.loads(text)["id"]


def spooled(folder):
    """How many bytes of temporary files there are, those without a name included."""
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def one_sentence(text):
    detail = json.loads(text)["detail"]
    assert detail.startswith("Expected ")
    assert detail.endswith(".")
    return detail


EVENT = json.dumps({"fn_index": 0, "data": [], "session_hash": "stranger"}).encode()
ROUTES = [
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/latents/"),
    ("GET", "/latents/config"),
    ("GET", "/latents/gradio_api/info"),
    ("POST", "/photographs"),
    ("POST", "/latents/gradio_api/upload"),
    ("POST", "/latents/gradio_api/queue/join"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_other_names_lead_nowhere(server, own, method, path):
    port = server.rpartition(":")[2]
    for host in (f"evil.example:{port}", "evil.example", "localhost.evil.example", "", "10.1.1.1"):
        how = own | {"Origin": f"http://{host}"}
        status, head, text = ask(server, method, path, EVENT, Host=host, **how)
        assert status in ((421,) if host else (400, 421))
        if status == 421:
            assert "name of this server" in one_sentence(text)
        assert "set-cookie" not in head.lower()
    status, _, _ = ask(server, "GET", "/health", Host=None)
    assert status in (400, 421)
    for host in ("localhost", f"127.0.0.1:{port}", "[::1]:1"):
        assert ask(server, "GET", "/health", Host=host)[0] == 200


@pytest.mark.parametrize(("method", "path"), [one for one in ROUTES if one[0] == "POST"])
@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": None},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Dest": "document"},
        {"Cookie": None},
        {"Cookie": "rgflow-1=a.b"},
        {"Authorization": None},
        {"Authorization": "Basic bWU6cGFzcw"},
    ],
)
def test_only_pages_of_the_server_change_anything(server, own, temporary, changed, method, path):
    body, kind = form(picture(), "files" if "latents" in path else "file")
    if path.endswith("join"):
        body, kind = EVENT, "application/json"
    before = spooled(temporary)
    how = own | {"Content_Type": kind} | changed
    status, _, text = ask(server, method, path, body, **how)
    assert status == (401 if "Authorization" in changed else 428 if "Cookie" in changed else 403)
    one_sentence(text)
    assert spooled(temporary) == before


def test_other_pages_read_nothing(server, own):
    for changed in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "same-site"}):
        for method in ("GET", "OPTIONS"):
            status, head, _ = ask(server, method, "/latents/config", **own | changed)
            assert status == 403
            assert "allow-origin" not in head.lower()
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}
    assert ask(server, "GET", "/photographs", **link)[0] == 200


def test_every_route_asks_for_the_password():
    app = make_app("msds1-paper-small", ("me", "pass"))

    def found(routes, prefix=""):
        for route in routes:
            if isinstance(route, Mount):
                yield from found(route.routes, prefix + route.path)
            elif hasattr(route, "methods"):
                yield from ((one, prefix + route.path) for one in route.methods)
            else:
                yield from found(route.original_router.routes, prefix)  # of FastAPI's own kind

    routes = sorted(set(found(app.routes)))
    assert len(routes) > 80
    assert ("POST", "/photographs/{name}/{what}") in routes
    assert ("POST", "/latents/gradio_api/upload") in routes
    client = testclient.TestClient(app, "http://localhost", follow_redirects=False)
    client.get("/", auth=("me", "pass"))
    assert len(client.cookies) == 1
    client.headers["Origin"] = "http://localhost"
    for method, path in [*routes, ("GET", "/none"), ("GET", "/latents/none"), ("PUT", "/health2")]:
        answer = client.request(method, re.sub(r"{[^}]*}", "x", path))
        assert answer.status_code == (200 if path == "/health" else 401), (method, path)


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/photographs", 500_000_000),
        ("/photographs/x/steps", 40_000_000),
        ("/latents/gradio_api/upload", 20_000_000),
        ("/latents/gradio_api/queue/join", 2_000_000),
        ("/latents/gradio_api/component_server", 2_000_000),
        ("/photographs/x/repair", 40_000_000),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("login", [True, False])
def test_what_is_too_large_is_refused_as_it_comes(
    server, own, temporary, path, size, chunked, login
):
    start = form(b"", "files" if "latents" in path else "file")[0].split(b"\r\n\r\n")[0]
    head = [f"POST {path} HTTP/1.1", f"Host: {server[7:]}", *(f"{k}: {v}" for k, v in own.items())]
    head += ["Content-Type: multipart/form-data; boundary=x"]
    head += [f"Authorization: {LOGIN}"] if login else []
    head += ["Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"]
    part, sent, most = b"\0" * (1 << 18), 0, 0
    if chunked:
        part = b"%x\r\n%b\r\n" % (len(part), part)
        start = b"%x\r\n%b\r\n" % (len(start) + 4, start + b"\r\n\r\n")
    with socket.create_connection(server[7:].split(":"), timeout=TIMEOUT) as line:
        line.sendall("\r\n".join([*head, "", ""]).encode() + start)
        answer = b""
        try:
            while sent < size:
                line.sendall(part)
                sent += len(part)
                most = max(most, spooled(temporary))
            answer = line.recv(1 << 16)
        except ConnectionError:  # it has said why, and doesn't listen any more
            pass
    expected = min(size, 110_000_000 if chunked and login and size > 100_000_000 else 20_000_000)
    assert sent <= expected + (1 << 24)  # with what the system keeps
    assert not answer or answer.split()[1] == (b"413" if login else b"401")
    assert most < 1_000_000
    assert spooled(temporary) < 1_000_000


def test_why_it_is_too_large(server, own):
    for path, most in (("/photographs", "at most 100 MB"), ("/none", "at most 1 MB")):
        how = own | {"Content_Length": "500000000", "Content_Type": form(b"")[1]}
        status, _, text = ask(server, "POST", path, **how)
        assert status == 413
        assert most in one_sentence(text)


@pytest.mark.parametrize(
    "body",
    [
        b'{"seed": 1180591620717411303424}',
        b'{"seed": 9223372036854775807}',
        b'{"temperature": NaN}',
        b'{"down": Infinity}',
        b'{"sensitivity": 1e400}',
        b'{"levels": 1000000000000}',
        b'{"factor": 1e12}',
        b'{"mask": 7}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"{",
        b"[]",
        b"5",
    ],
)
def test_numbers_and_other_values_that_are_none(server, own, body):
    name = opened(server, own)
    for path in (f"/photographs/{name}/redraw", "/latents/gradio_api/queue/join"):
        how = own | {"Content_Type": "application/json"}
        status, _, text = ask(server, "POST", path, body, **how)
        assert status in (400, 422)
        one_sentence(text)


@pytest.mark.parametrize("event", [10**12, -1, 2**63 - 1])
def test_events_that_are_none(server, own, event):
    body = json.dumps({"fn_index": event, "data": [1e12], "session_hash": "x"}).encode()
    how = own | {"Content_Type": "application/json"}
    status, _, text = ask(server, "POST", "/latents/gradio_api/queue/join", body, **how)
    assert status == 422
    one_sentence(text)


def chunk(kind, content):
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def test_a_picture_that_is_none(server, own):
    head = (8).to_bytes(4) * 2 + bytes([8, 3, 0, 0, 0])
    rows = zlib.compress(b"\0" * 72)
    without_palette = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows)
    whole = picture()
    for content in (without_palette + chunk(b"IEND", b""), whole[:2000], b"", b"GIF89a"):
        body, kind = form(content)
        status, _, text = ask(server, "POST", "/photographs", body, Content_Type=kind, **own)
        assert status == 422
        one_sentence(text)
    status, _, text = ask(server, "POST", "/photographs", b"--x", Content_Type=kind, **own)
    assert status in (400, 422)


# ------------------------------------------------------------------------------- the album


def kept(found, visitor, size=3000):
    return found.add(b"x" * size, Picture(SEEN, image_of(SEEN)), "x", visitor=visitor).folder.name


SEEN = np.zeros((3, 8, 8), dtype=np.uint8)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """An album for 40 kB, of which a visitor may have 15."""
    monkeypatch.setattr(album, "MAX_BYTES_KEPT", 40_000)
    monkeypatch.setattr(album, "MAX_BYTES_EACH", 15_000)
    return Album(tmp_path)


def test_visitors_dont_close_pictures_of_others(small):
    first = [kept(small, "a") for _ in range(2)]
    others = [kept(small, "b") for _ in range(4)]
    with pytest.raises(ValueError, match="Expected room for another picture on the disk; .*close"):
        kept(small, "b", 10_000)
    assert [small[key].about.name for key in first + others] == ["x"] * 6  # nothing is closed
    kept(small, "c", 9_000)
    with pytest.raises(ValueError, match="Expected room"):
        kept(small, "d", 14_000)  # others have taken all
    small.close(others[0])
    small.close(others[1])
    kept(small, "b", 3_000)
    assert [len(small.of(one)) for one in "abcd"] == [2, 3, 1, 0]


def test_pictures_are_closed_in_the_end(small, monkeypatch):
    now = time.time()
    monkeypatch.setattr(album.time, "time", lambda: now)
    keys = [kept(small, "a") for _ in range(2)]
    now += 86400 * album.IDLE_DAYS - 1
    assert small[keys[0]]
    now += 2
    assert [one.folder.name for one in small.of("a")] == keys[:1]
    with pytest.raises(HTTPException, match="no longer open"):
        small[keys[1]]
    now += 86400 * album.IDLE_DAYS
    assert Album(small.folder).of("a") == []  # of another server as well
    assert [one.name for one in small.folder.iterdir()] == ["key"]


def test_a_visitor_is_known_again_after_the_server_was_started_again(tmp_path):
    """With their pictures, by a secret that only the user of the server can read."""
    names = []
    for _ in range(2):
        with projects(str(tmp_path)) as folder, projects(str(tmp_path)) as second:
            assert folder != second
            assert folder.stat().st_mode & 0o077 == 0
            app = make_app("photos", projects=folder)
            if not names:
                client = testclient.TestClient(app, "http://localhost")
                client.headers["Origin"] = "http://localhost"
                client.get("/photographs")
                files = {"file": ("x.png", picture())}
                names.append(client.post("/photographs", files=files).json()["id"])
                cookies = client.cookies
            client = testclient.TestClient(app, "http://localhost", cookies=cookies)
            assert [one["id"] for one in client.get("/photographs/open").json()] == names
            other = testclient.TestClient(app, "http://localhost")
            assert other.get("/photographs/open").json() == []


# -------------------------------------------------------------------------------- the gate


def behind(**how):
    app = FastAPI()

    @app.post("/x")
    async def x(request: Request) -> str:
        await request.body()
        return request.scope["visitor"]

    app.add_middleware(Gate, **{"hosts": ["127.0.0.1"], **how})
    return app


def test_names_of_a_proxy_and_of_the_machine():
    app = behind(public="Pictures.example.org:8443")
    for address in ("http://127.0.0.1:7860", "https://pictures.example.org:8443"):
        client = testclient.TestClient(app, address)
        for origin in (address, "https://pictures.example.org:8443"):
            client.headers["Origin"] = origin
            assert client.post("/x").status_code in (200, 428)
            assert client.post("/x").status_code == 200  # with the cookie of the first
        client.headers["Origin"] = "https://pictures.example.org"
        assert client.post("/x").status_code == 403
    assert testclient.TestClient(app, "http://10.0.0.7").get("/x").status_code == 421
    app = behind(hosts=["machine"])
    for name, status in (("10.0.0.7", 405), ("[fe80::1]", 405), ("machine", 405), ("other", 421)):
        assert testclient.TestClient(app, f"http://{name}:80").get("/x").status_code == status


def test_visitors_are_told_apart_and_cookies_cant_be_made():
    app = behind()
    visitors = set()
    for _ in range(2):
        client = testclient.TestClient(app, "https://127.0.0.1")
        client.headers["Origin"] = "https://127.0.0.1"
        answer = client.post("/x")
        assert answer.status_code == 428
        assert answer.headers["set-cookie"].endswith("; SameSite=Strict; Secure")
        visitors |= {client.post("/x").json() for _ in range(2)}
    assert len(visitors) == 2
    (name, value), *_ = client.cookies.items()
    for wrong in (value[1:], value[:-1], visitors.pop(), "", ".", "é"):
        client.cookies.clear()
        answer = client.post("/x", headers={"Cookie": f"{name}={wrong}".encode()})
        assert answer.status_code == 428


def test_bodies_are_checked_before_their_routes():
    app = behind(limits={"/x": 100})
    client = testclient.TestClient(app, "http://127.0.0.1", headers={"Origin": "http://127.0.0.1"})
    client.post("/x")
    for body, status in ((b"", 200), (b"[1]", 200), (b"[NaN]", 422), (b"[]" + b" " * 99, 413)):
        for content in (body, iter([body[:1], body[1:]])):
            assert client.post("/x", content=content).status_code == status
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/x"):
        pass


def test_a_visitor_uploads_so_much_in_an_hour(monkeypatch):
    monkeypatch.setattr(gate, "MAX_FILES", 1000)
    monkeypatch.setattr(gate, "MAX_FILES_OF_ALL", 1500)
    app, files = behind(), {"file": b"0" * 400}
    clients = [
        testclient.TestClient(app, "http://127.0.0.1", headers={"Origin": "http://127.0.0.1"})
        for _ in range(2)
    ]
    for client in clients:
        client.post("/x")
    found = [clients[k].post("/x", files=files).status_code for k in (0, 0, 1, 0, 1)]
    assert found == [200, 429, 200, 429, 429]
    monkeypatch.setattr(gate, "KEPT_SECONDS", 0.0)
    assert clients[0].post("/x", files=files).status_code == 200


# ------------------------------------------------------------------------- temporary files


HOLD = """
import sys, tempfile
from rgflow.app.scratch import scratch
with scratch() as folder:
    tempfile.NamedTemporaryFile(delete=False).write(b"secret")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holding(folder):
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], env={**os.environ, "TMPDIR": str(folder)}, **how
    )
    return process, Path(process.stdout.readline().strip())


def test_temporary_files_survive_neither_kill_nor_end(tmp_path):
    killed, first = holding(tmp_path)
    kept, second = holding(tmp_path)  # another server at the same time
    killed.kill()
    killed.wait()
    killed.communicate()
    assert spooled(first)
    third, last = holding(tmp_path)
    assert not first.exists()
    assert spooled(second)
    assert last.parent.stat().st_mode & 0o077 == 0
    assert last.parent == second.parent
    for process in (kept, third):
        process.communicate("")
    assert spooled(tmp_path) == 0
    last.parent.chmod(0o777)
    process, _ = holding(tmp_path)
    process.communicate()
    assert process.returncode == 1


@pytest.mark.slow
def test_uploads_dont_survive_a_kill(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    body, kind = form(picture(), "files")
    with serving(tmp_path, before=FAST_SETTINGS) as address:
        how = {"Content-Type": kind}
        upload = f"{address}/latents/gradio_api/upload"
        program(address).open(urllib.request.Request(upload, body, how)).close()
        left = list(tmp_path.rglob("*x.png"))
        assert len(left) == 1
        os.kill(int(process_of(address).name), signal.SIGKILL)
    with serving(tmp_path, before=FAST_SETTINGS):
        assert not left[0].exists()


# --------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def strange(server):
    """The address of another server of this machine, with a page that attacks ours."""
    at, mark = server, picture(2000, 2000)
    content = base64.b64encode(mark).decode()
    page = f"""<title>attack</title><script>
      const blob = new Blob([Uint8Array.from(atob("{content}"), c => c.charCodeAt(0))]);
      async function attack(address) {{
        const found = [];
        const places = {{ "/photographs": "file", "/latents/gradio_api/upload": "files" }};
        for (const [path, name] of Object.entries(places))
          for (const mode of ["cors", "no-cors"]) {{
            const form = new FormData(); form.append(name, blob, "evil.png");
            const how = {{ method: "POST", body: form, mode, credentials: "include" }};
            found.push(await fetch(address + path, how).then(a => a.status, () => "refused"));
          }}
        const event = {{ fn_index: 0, data: [], session_hash: "evil" }};
        found.push(await fetch(address + "/latents/gradio_api/queue/join", {{ method: "POST",
          body: JSON.stringify(event), mode: "no-cors", credentials: "include" }})
          .then(a => a.status, () => "refused"));
        found.push(await fetch(address + "/latents/config", {{ credentials: "include" }})
          .then(a => a.status, () => "refused"));
        return found;
      }}
    </script><form method="post" enctype="multipart/form-data" action="{at}/photographs">
      <input type="file" name="file"><button>go</button></form>""".encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


@pytest.mark.skipif(not BROWSER, reason="needs Chromium, which isn't installed")
@pytest.mark.slow
def test_attacks_in_a_browser(server, own, strange, temporary, tmp_path):
    sync = pytest.importorskip("playwright.sync_api")
    port, before = server.rpartition(":")[2], spooled(temporary)
    mine = opened(server, own)
    (tmp_path / "evil.png").write_bytes(picture())
    rules = "MAP evil.example 127.0.0.1"
    with sync.sync_playwright() as tools:
        flags = [*FLAGS, f"--host-resolver-rules={rules}"]
        browser = tools.chromium.launch(executable_path=BROWSER, args=flags)
        people = {"username": "me", "password": "pass"}
        context = browser.new_context(http_credentials=people)
        context.grant_permissions(["local-network-access"])  # or newer browsers ask themselves
        page = context.new_page()
        assert page.goto(f"{server}/photographs").status == 200  # there is a cookie, and a login
        page.wait_for_function("document.body.dataset.photo")
        # Another server's page, of this machine and of another name.
        for address in (strange, strange.replace("127.0.0.1", "evil.example")):
            page.goto(address)
            for status in page.evaluate("at => attack(at)", server):
                assert status in ("refused", 0), status
            page.set_input_files("input", tmp_path / "evil.png")
            with page.expect_navigation():
                page.click("button")
            assert "a page of this server" in one_sentence(page.inner_text("body"))
        # A page whose name leads here meanwhile.
        answer = page.goto(f"http://evil.example:{port}/latents/")
        assert answer.status == 421
        assert page.evaluate("fetch('/latents/config').then(a => a.status)") == 421
        join = """fetch('/latents/gradio_api/queue/join', { method: "POST", body: "{}" })"""
        assert page.evaluate(f"{join}.then(a => a.status)") == 421
        # The page itself, but without a login.
        stranger = browser.new_context().new_page()
        assert stranger.goto(f"{server}/health").status == 200
        post = """([path, name]) => { const form = new FormData();
          form.append(name, new Blob([new Uint8Array(6e7)]), "x.png");
          const how = { method: "POST", body: form, credentials: "omit" };  // as it would ask
          return fetch(path, how).then(a => a.status, () => 0); }"""
        for place in (["/photographs", "file"], ["/latents/gradio_api/upload", "files"]):
            assert stranger.evaluate(post, place) in (401, 0)  # it may not hear the answer
        browser.close()
    assert spooled(temporary) == before
    assert ask(server, "GET", f"/photographs/{mine}", **own)[0] == 200
