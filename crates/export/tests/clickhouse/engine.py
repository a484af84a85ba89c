"""ClickHouse's engine in one process (chDB), behind the part of its HTTP interface that exports use.

Arguments: a folder. Prints its port. POST / has a statement, and may have values of its parameters and settings; POST /?query=INSERT ...
FORMAT ...&setting=value has rows. Both may be packed with gzip.
"""

import gzip
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb import session

ENGINE = session.Session(sys.argv[1])


def is_setting(name):
    """Not what a server's HTTP interface takes for itself."""
    return not name.startswith("param_") and name != "wait_end_of_query"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        statement, settings = body.decode(), dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if "query" in settings:
            insert, form = settings.pop("query").split(" FORMAT ")
            given = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
            statement = f"{insert} SETTINGS {given} FORMAT {form} {statement}"
        else:
            given = [f"{name} = '{value}'" for name, value in settings.items() if is_setting(name)]
            statement += f" SETTINGS {', '.join(given)}" if given else ""
        try:
            for name, value in settings.items():
                if name.startswith("param_"):
                    # Set as a server sets it: the value as it came, which is read when it is used.
                    value = value.replace("\\", "\\\\").replace("'", "\\'")
                    ENGINE.query(f"SET {name} = '{value}'")
            status, answer = 200, bytes(ENGINE.query(statement, "JSONEachRow").bytes() or b"")
        except Exception as error:
            status, answer = 400, str(error).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Server(HTTPServer):
    def handle_error(self, request, client_address):
        """Clients that have what they want close: no fault of anybody's."""
        if not isinstance(sys.exc_info()[1], (BrokenPipeError, ConnectionResetError)):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
