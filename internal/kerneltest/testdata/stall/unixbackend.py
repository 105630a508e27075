"""Asks a database by a unix socket, which takes questions and never answers."""
import os, socket, socketserver, sys, tempfile, threading

path = os.path.join(tempfile.mkdtemp(), "database.sock")
if os.fork() == 0:
    database = socket.socket(socket.AF_UNIX)
    database.bind(path)
    database.listen(8)
    kept = []
    while True:
        kept.append(database.accept())
while not os.path.exists(path):
    pass


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            s.sendall(b"select 1")
            self.wfile.write(s.recv(100))


socketserver.TCPServer.allow_reuse_address = True
server = socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Handler)
threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()
print("ready", flush=True)
server.serve_forever()
