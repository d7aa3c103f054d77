"""`rgflow app`: see, edit, mix and repair images in the browser."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from rgflow.checks import check_installed
from rgflow.cli.parsing import Parser, parse, some
from rgflow.pretrained import folder_of


def run(arguments: Sequence[str]) -> None:
    """Parse, and serve the page.

    Raises:
        ValueError: If --auth has no user or no password, or the package gradio is missing.
    """
    options = Parser(
        "app",
        "See, edit, mix and repair images in the browser. Nothing leaves this machine.",
        "rgflow app runs/first",
    )
    options.add_argument(
        "run", nargs="?", default="photos", help="a run folder, or a model: its folder or name"
    )
    options.word("host", "127.0.0.1", "address to listen on; 0.0.0.0 opens it to the network")
    options.whole("port", 7860, "port to listen on", 1, 65535)
    options.word("auth", None, "user:password to protect the page with")
    options.word("name", None, "name at which a proxy shows the page, such as pictures.example.org")
    options.whole("threads", 1, "number of threads per computation")
    what = "processes that compute what takes long for a group; 0: the server itself, two at a time"
    options.whole("workers", 0, what, least=0)
    options.word("projects", None, "folder for the pictures that are open")
    options.several("panels", str, [], "panels of your own, by import path, with --trust")
    settings = parse(options, arguments)
    auth = None
    if settings.auth is not None:
        user, colon, password = settings.auth.partition(":")
        if not (user and colon and password):
            raise ValueError("Expected --auth to be user:password; got something else.")
        auth = user, password
    check_installed("gradio", "which builds the page", "app")
    folder_of(settings.run)  # before a port is looked for
    _check_free(settings.host, settings.port)

    from rgflow.app.server import serve

    how = some(settings, "host", "port", "name", "threads", "projects", "workers")
    serve(settings.run, auth=auth, own_panels=settings.panels, **how)


def _check_free(host: str, port: int) -> None:
    """Raise an `OSError` unless one can listen there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OSError(
            f"Expected to listen on {host}, port {port}; {error.strerror or error}: give another "
            f"--port or --host."
        ) from error
