"""Logs the names of its clients, which it looks up before it serves them."""
import socket, socketserver, sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            name = socket.gethostbyaddr("192.0.2.7")[0]
        except OSError:
            name = "unknown"
        self.rfile.readline()
        self.wfile.write(name.encode())


socketserver.TCPServer.allow_reuse_address = True
server = socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
