#!/usr/bin/env python3
"""A code host that takes every comment and status at once: `code_host.py PORT-FILE` writes its port there, and answers until it is ended."""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Host(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # or the kernel waits for more before it sends the answer
    wbufsize = -1

    def answer(self, status, body):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, b"[]" if self.path.split("?")[0].endswith("comments") else b'{"id": 1, "body": ""}')

    def do_POST(self):
        self.answer(201, b'{"id": 1}')

    def do_PATCH(self):
        self.answer(200, b'{"id": 1}')

    def log_message(self, *_):
        pass


host = ThreadingHTTPServer(("127.0.0.1", 0), Host)
with open(sys.argv[1], "w") as file:
    file.write(str(host.server_port))
host.serve_forever()
