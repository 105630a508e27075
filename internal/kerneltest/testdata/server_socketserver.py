"""Serves one connection at a time, as socketserver's TCPServer does. A client
that asks to wait is served when a line comes on standard input."""
import socketserver
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.readline() == b"wait\n":
            print("wait", flush=True)
            sys.stdin.readline()
        self.wfile.write(b"served\n")


class Server(socketserver.TCPServer):
    request_queue_size = 64


with Server(("127.0.0.1", 0), Handler) as server:
    print("listening %s:%d" % server.server_address, flush=True)
    server.serve_forever()
