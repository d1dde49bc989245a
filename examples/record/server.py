#!/usr/bin/env python3
"""Keeps a record of chat messages that lhttpd posts to it: python3 server.py [PORT [FILE]]

POST /record  appends the message to FILE (record.jsonl), one JSON object a line, and answers 201
GET /record   gives the record
"""
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
FILE = sys.argv[2] if len(sys.argv) > 2 else "record.jsonl"
LOCK = Lock()


class Record(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # so that lhttpd keeps its connection

    def do_POST(self):
        if self.path != "/record":
            self.close_connection = True  # the body is left unread
            return self.answer(404, b"there is only /record\n")
        message = self.rfile.read(int(self.headers["Content-Length"]))
        # The whole LHTTP message: a start line, headers, an empty line, the body.
        head, _, body = message.partition(b"\r\n\r\n")
        entry = {
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": self.headers["X-LHTTP-Command"],
            "headers": head.decode().split("\r\n")[1:],
            "body": body.decode(errors="replace"),
        }
        with LOCK, open(FILE, "a") as record:
            record.write(json.dumps(entry) + "\n")
        self.answer(201, b"")

    def do_GET(self):
        if self.path != "/record":
            return self.answer(404, b"there is only /record\n")
        with LOCK, open(FILE, "a+") as record:
            record.seek(0)
            self.answer(200, record.read().encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/jsonl")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", PORT), Record)
print(f"http://127.0.0.1:{server.server_port}/record", flush=True)
server.serve_forever()
