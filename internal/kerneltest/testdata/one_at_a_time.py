"""Listens with a backlog of 1, and accepts one connection for each line of its
standard input. It keeps what it accepted open."""
import socket
import sys

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1)
print("listening %s:%d" % listener.getsockname(), flush=True)
accepted = []
for line in sys.stdin:
    connection, peer = listener.accept()
    accepted.append(connection)
    print("accepted %s:%d" % peer, "fd", connection.fileno(), flush=True)
