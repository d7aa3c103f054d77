"""The server of the page."""

import ipaddress
import logging
from pathlib import Path
from socket import socket
from typing import Any

import gradio as gr
import torch
import uvicorn
from fastapi import FastAPI

from rgflow import __version__
from rgflow.app.drawers import LARGEST_UPLOAD
from rgflow.app.layout import PAGES, build
from rgflow.app.models import ModelStore
from rgflow.app.page import static
from rgflow.app.sessions import SessionStore
from rgflow.checks import check_whole

CONCURRENT, BUSY, WAITING = 4, 40, 200
"""Events handled at a time, of one kind by default and of all kinds, and events that may wait."""
GOODBYE = 3
"""Seconds that the ending server waits for pages, which keep a connection open."""


def make_app(first: str, auth: tuple[str, str] | None = None, *, folders: bool = True) -> FastAPI:
    """The page as an application, with `/health`.

    Args:
        first: The model to begin with: a run folder, or a model's folder or name.
        auth: User and password, if the page asks for them.
        folders: Whether visitors may open any folder of this machine.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If it can't be read, or isn't of pictures.
    """
    sessions = SessionStore(ModelStore(first, folders=folders))
    opened = sessions.models.open(first)
    opened.prepare()
    blocks = build(sessions)
    blocks.max_threads = PAGES + BUSY  # each page has one event that is always worked on
    blocks.queue(default_concurrency_limit=CONCURRENT, max_size=WAITING, api_open=False)
    app = FastAPI(title="rgflow explorer", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sessions = sessions

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "version": __version__,
            "model": Path(opened.name).name,
            "sessions": len(sessions),
        }

    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Base(font=fonts, font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        auth=auth,
        max_file_size=LARGEST_UPLOAD,
        show_error=True,
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        theme=theme,
        css=static("style.css"),
        head=f"<script>const LARGEST_UPLOAD = {LARGEST_UPLOAD};\n{static('page.js')}</script>",
    )


def serve(
    first: str,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: tuple[str, str] | None = None,
    threads: int | None = None,
) -> None:
    """Serve the page until the process is stopped.

    Args:
        first, auth: As for `make_app`.
        host: The address to listen at; the default accepts only this machine.
        port: The port to listen at.
        threads: Threads of one computation; none: one, as small products share badly.

    Raises:
        ValueError: If the port is out of range, or as for `make_app`.
    """
    check_whole("--port", port, 1, 65535)
    torch.set_num_threads(threads or 1)
    app = make_app(first, auth, folders=_is_local(host))
    shown = f"[{host}]" if ":" in host else host
    print(f"The explorer is at http://{shown}:{port}; Ctrl-C ends it.", flush=True)
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=GOODBYE,
        )
    )
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        app.state.sessions.stop_all()  # or the process would wait for them


class _Server(uvicorn.Server):
    """A server that ends while pages are open, without calling that an error."""

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def _is_local(host: str) -> bool:
    """Whether an address accepts only this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
