"""A wire tap between a client and the sidecar: passes bytes on and keeps them, to compare what was sent with what arrived."""
import dataclasses
import socket
import threading
import urllib.parse


@dataclasses.dataclass
class Message:
    """A request or a response of HTTP/1.1, as it was on the wire."""

    start: str
    headers: list  #: (name in lower case, value), in order
    body: bytes  #: without the transfer coding

    def header(self, name):
        return next((value for known, value in self.headers if known == name), None)


class Tap:
    """Listens on a port of its own; each connection is copied to `url` and back until either side closes."""

    def __init__(self, url):
        target = urllib.parse.urlsplit(url)
        self._target = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._kept = []  # (bytes up, bytes down) of each connection, in the order of their beginning
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            up, down = bytearray(), bytearray()
            self._kept.append((up, down))
            self._sockets += [client, server]
            for source, sink, kept in [(client, server, up), (server, client, down)]:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._copy, args=(source, sink, kept), daemon=True).start()

    @staticmethod
    def _copy(source, sink, kept):
        try:
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
        except OSError:
            pass
        # Who closes wants the whole exchange ended: a client that is gone must be gone at the sidecar too.
        for end in (sink, source):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def requests(self):
        return [message for up, _ in self._kept for message in _messages(bytes(up))]

    def responses(self):
        return [message for _, down in self._kept for message in _messages(bytes(down))]

    def close(self):
        self._listener.close()
        for each in self._sockets:
            each.close()


def _messages(data):
    """The complete messages of one direction of a connection; what is cut off is left out."""
    while True:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        message = Message(start, headers, b"")
        cut = _chunked(rest) if message.header("transfer-encoding") == "chunked" else _sized(rest, message)
        if cut is None:
            return
        message.body, data = cut
        yield message


def _sized(data, message):
    size = int(message.header("content-length") or 0)
    return (data[:size], data[size:]) if len(data) >= size else None


def _chunked(data):
    """(the body, what comes after it), or None if its end is missing."""
    body = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return None
        size = int(line.split(b";")[0], 16)
        if len(data) < size + 2:
            return None
        body, data = body + data[:size], data[size + 2 :]
        if size == 0:
            return body, data
