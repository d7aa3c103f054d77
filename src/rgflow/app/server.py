"""The server of both pages."""

import json
import logging
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from socket import getfqdn, gethostname, socket
from typing import Any

import gradio as gr
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from gradio.route_utils import FnIndexInferError
from starlette.routing import Mount

from rgflow import __version__, trained
from rgflow.app.gate import MAX_BUFFERED, Gate, is_local
from rgflow.app.layout import MAX_PAGES, MAX_UPLOAD, build
from rgflow.app.models import Flows, ModelStore
from rgflow.app.page import header, static
from rgflow.app.panel import Panel
from rgflow.app.panels import panels
from rgflow.app.photographs import MAX_FILE, Photographs
from rgflow.app.scratch import projects as kept
from rgflow.app.scratch import scratch
from rgflow.app.sessions import SessionStore
from rgflow.checks import check_whole
from rgflow.photographs.scoring import is_of_photographs

MAX_EVENTS_OF_A_KIND, MAX_EVENTS, MAX_WAITING = 4, 40, 200
"""Events that are handled at a time, of one kind and of all, and events that may wait."""
LATENTS = "faces"
"""The model of the page of latents, unless another one is asked for."""
LIMITS = {
    r"/photographs(/[^/]+/infrared)?": MAX_FILE + (1 << 16),  # with the form around it
    r"/photographs/[^/]+/[^/]+": MAX_BUFFERED,  # with a mask, as a PNG picture in base64
    r"/latents/gradio_api/upload": MAX_UPLOAD + (1 << 16),
}
"""Bytes that may be sent to which routes; fewer to all others."""
SHUTDOWN_SECONDS = 3
"""How long the server waits for open pages when it ends, as they keep a connection."""


def make_app(
    first: str,
    auth: tuple[str, str] | None = None,
    *,
    host: str = "127.0.0.1",
    name: str | None = None,
    own_panels: Iterable[str] = (),
    projects: Path | None = None,
    workers: int = 0,
) -> FastAPI:
    """The page as an application, with `/health`, behind a `rgflow.app.gate.Gate`.

    Args:
        first: The model to begin with: a run folder, or a model's folder or name.
        auth: User and password, if the page asks for them.
        host: The address at which it listens.
        name: The name at which a proxy shows it, with the port unless it is the usual one.
            Visitors of this machine alone, without a proxy, may open any of its folders.
        own_panels: Import paths of panels of your own.
        projects: The folder for open photographs; by default a temporary one.
        workers: Processes that compute what takes long for the page of photographs; 0: this one.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If it can't be read, or isn't of pictures, or there is no such panel.
    """
    shown_panels = panels(own_panels)
    model = trained.load(first)
    photographs = is_of_photographs(model.flow)
    latents = LATENTS if photographs else first
    models = ModelStore(latents, folders=is_local(host) and not name)
    sessions = SessionStore(models, projects and projects / ".latents")
    opened = sessions.models.open(latents)
    opened.prepare()
    blocks = build(sessions, shown_panels)
    blocks.max_threads = MAX_PAGES + MAX_EVENTS  # each page has one event that is always worked on
    blocks.queue(
        default_concurrency_limit=MAX_EVENTS_OF_A_KIND, max_size=MAX_WAITING, api_open=False
    )
    flows = Flows(model.flow, first) if photographs else Flows()
    page = Photographs(flows, projects, workers)
    app = FastAPI(title="rgflow explorer", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sessions = sessions
    started = time.time()
    app.add_middleware(
        Gate,
        hosts=(host, *(() if is_local(host) else (gethostname(), getfqdn()))),
        public=name or "",
        auth=auth,
        limits=LIMITS,
        key=page.album.key,
    )

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "version": __version__,
            "model": Path(opened.name).name,
            "sessions": len(sessions),
            "started": started,
        }

    @app.get("/favicon.ico")
    async def icon() -> Response:
        return Response(status_code=204)

    if not photographs:  # before the router, which has a page there too

        @app.get("/")
        async def start() -> RedirectResponse:
            return RedirectResponse("/latents/")

    app.include_router(page.router())
    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Base(font=fonts, font_mono=["ui-monospace", "monospace"])
    gr.mount_gradio_app(
        app,
        blocks,
        path="/latents",
        run_history=False,
        max_file_size=MAX_UPLOAD,
        show_error=True,
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        theme=theme,
        css=static("style.css"),
        head=_script(shown_panels),
    )
    inner: Any = next(route.app for route in app.routes if isinstance(route, Mount))
    for one in (app, inner):
        one.add_exception_handler(RequestValidationError, _refused)
        one.add_exception_handler(KeyError, _refused)  # such as events that the page doesn't have
    # Of Gradio, by forms without a file, and events that aren't there.
    for error in (AttributeError, TypeError, FnIndexInferError):
        inner.add_exception_handler(error, _refused)
    return app


async def _refused(_: Request, error: Exception) -> Response:
    """The answer to values that are none of a route; it doesn't repeat them."""
    why = "got one of another page"
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        why = f"{first['loc'][-1]}: {first['msg']}"
    return JSONResponse({"detail": f"Expected what this page sends; {why}."}, 422)


def _script(shown: Iterable[Panel]) -> str:
    """The script of the page of latents, with what it needs to know."""
    help_of = [{**panel.hints, f"{panel.elem_id}-button": panel.help} for panel in shown]
    known = json.dumps(help_of).replace("<", "\\u003c")
    above = json.dumps(header("Latents", "../")).replace("<", "\\u003c")
    scripts = f"const PANELS = {known}, HEADER = {above};\n"
    scripts += static("download.js") + static("page.js")
    return f"<style>{static('shared.css')}</style><script>{scripts}</script>"


def serve(
    first: str,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    threads: int | None = None,
    projects: str | None = None,
    **more: Any,
) -> None:
    """Serve the page until the process is stopped.

    Args:
        first: As for `make_app`.
        host: The address to listen at; the default accepts only this machine.
        port: The port to listen at.
        threads: Threads of one computation; none: one, as small products share badly.
        projects: The folder for open photographs, as for `rgflow.app.scratch.projects`.
        more: `auth`, `name`, `own_panels` and `workers`, as for `make_app`.

    Raises:
        FileNotFoundError: As for `make_app`.
        ValueError: If the port is out of range, or as for `make_app`.
    """
    check_whole("--port", port, 1, 65535)
    torch.set_num_threads(threads or 1)
    shown = f"[{host}]" if ":" in host else host
    with scratch() as folder, kept(projects) as photographs:
        app = make_app(first, host=host, projects=photographs, **more)
        print(f"The explorer is at http://{shown}:{port}; Ctrl-C ends it.", flush=True)
        server = _Server(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_level="warning",
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        server.folder = folder
        try:
            server.run()
        except KeyboardInterrupt:
            pass
        finally:
            app.state.sessions.stop_all()  # or the process would wait for them


class _Server(uvicorn.Server):
    """A server that ends while pages are open, without calling that an error."""

    folder: Path
    """Of temporary files, which are deleted here already as a signal may end the process now."""

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
        shutil.rmtree(self.folder, ignore_errors=True)
