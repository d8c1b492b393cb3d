"""A small HTTP server on this machine that misbehaves as it is told, one request at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves one file at any path.

    Attributes:
        content: the bytes of the file.
        script: what each request gets, in turn; after that, all is well. A number is a status to answer with;
            a word is one of the methods of `_Handler`, with an argument after a colon.
        requests: the Range header of each request, or None.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.etag: str | None = '"one"'
        self.last_modified: str | None = None
        self.script: list[str | int] = []
        self.requests: list[str | None] = []
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    state: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.state.requests.append(self.headers["Range"])
        step = self.state.script.pop(0) if self.state.script else "well"
        if isinstance(step, int):
            self.send_response(step)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        word, _, argument = step.partition(":")
        getattr(self, word)(*([argument] if argument else []))

    def well(self, cut: int | None = None) -> None:
        """The file, or the range of it that is asked for if the condition holds."""
        content, start = self.state.content, 0
        condition = self.headers["If-Range"]
        if self.headers["Range"] and condition in (self.state.etag, self.state.last_modified):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.answer(content[start:], cut)

    def answer(self, body: bytes, cut: int | None = None, *, length: bool = True) -> None:
        for name, value in (("ETag", self.state.etag), ("Last-Modified", self.state.last_modified)):
            if value:
                self.send_header(name, value)
        if length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])

    def drop(self, after: str) -> None:
        """Stop after so many bytes."""
        self.well(int(after))

    def no_ranges(self, after: str = "") -> None:
        """All of it, whatever is asked for."""
        self.send_response(200)
        self.answer(self.state.content, int(after) if after else None)

    def no_length(self) -> None:
        self.send_response(200)
        self.answer(self.state.content, length=False)

    def other_range(self) -> None:
        """A part that nobody asked for."""
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 1-2/{len(self.state.content)}")
        self.answer(self.state.content[1:3])

    def wrong(self) -> None:
        """As many bytes, one of them another."""
        self.send_response(200)
        self.answer(b"?" + self.state.content[1:])

    def changed(self, etag: str) -> None:
        """There is a new version of the file from now on."""
        self.state.etag = f'"{etag}"'
        self.state.content = self.state.content[::-1]
        self.well()

    def redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """A server in a thread; gone at the end."""
    state = Server(content)
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join(5)
