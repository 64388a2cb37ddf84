"""A TCP proxy before a server, which can swallow the answer to one statement."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from sqlalchemy.engine import URL


class Proxy:
    """Forwards connections to the server of a database.

    Attributes:
      cut: How many connections were cut.
    """

    def __init__(self, url: URL) -> None:
        self._upstream = (url.host, url.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._swallow: list[bytes] = []
        self.cut = 0
        through = url.set(host="127.0.0.1", port=self._listening.getsockname()[1])
        if url.get_backend_name() == "postgresql":
            # What is encrypted can't be recognized.
            through = through.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        self.url = through.render_as_string(hide_password=False)
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow_answer_to(self, *statements: str) -> None:
        """Cut the connection that next sends these in turn, when the server has done the last, before its client hears.

        Once only.
        """
        self._swallow = [statement.encode() for statement in statements]

    def close(self) -> None:
        for each in (self._listening, *self._sockets):
            self._end(each)

    def _accept(self) -> None:
        while True:
            try:
                client = self._listening.accept()[0]
            except OSError:  # closed
                return
            server = socket.create_connection(self._upstream)
            self._sockets += [client, server]
            swallowing = threading.Event()
            for forward in (self._requests, self._answers):
                threading.Thread(target=forward, args=(client, server, swallowing), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, swallowing: threading.Event) -> None:
        seen = 0
        with suppress(OSError):
            while said := client.recv(1 << 16):
                awaited = self._swallow
                if awaited and awaited[seen] in said:
                    seen += 1
                    if seen == len(awaited):
                        self._swallow = []
                        # Before it is forwarded: the answer may be here at once.
                        swallowing.set()
                server.sendall(said)
        self._end(server)

    def _answers(self, client: socket.socket, server: socket.socket, swallowing: threading.Event) -> None:
        with suppress(OSError):
            while said := server.recv(1 << 16):
                if swallowing.is_set():
                    self.cut += 1
                    break
                client.sendall(said)
        self._end(client)
        self._end(server)

    @staticmethod
    def _end(which: socket.socket) -> None:
        with suppress(OSError):
            which.shutdown(socket.SHUT_RDWR)
        which.close()
