"""Keeps each client in a dict until it says goodbye, which most never do."""
import selectors, socket, sys

sel = selectors.DefaultSelector()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
sel.register(listener, selectors.EVENT_READ)
clients = {}
print("ready", flush=True)
while True:
    for key, _ in sel.select():
        if key.fileobj is listener:
            conn, peer = listener.accept()
            clients[peer] = conn
            sel.register(conn, selectors.EVENT_READ)
            continue
        data = key.fileobj.recv(1024)
        if data.startswith(b"bye"):
            key.fileobj.close()
        sel.unregister(key.fileobj)
