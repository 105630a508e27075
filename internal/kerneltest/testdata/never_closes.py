"""Accepts whatever comes, at once, and never closes any of it."""
import socket

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(16)
print("listening %s:%d" % listener.getsockname(), flush=True)
accepted = []
while True:
    connection, peer = listener.accept()
    accepted.append(connection)
    print("accepted %s:%d" % peer, "fd", connection.fileno(), flush=True)
