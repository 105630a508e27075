"""Six threads share a listener, each accepts for itself and renders a report."""
import socket, sys, threading, time


def render(conn):
    for _ in range(1000):
        time.sleep(0.5)  # waits for a printer that never gets ready
    conn.sendall(b"done\n")


def worker(listener):
    while True:
        conn, _ = listener.accept()
        with conn:
            render(conn)


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=20)
threads = [threading.Thread(target=worker, args=(listener,)) for _ in range(6)]
for t in threads:
    t.start()
print("ready", flush=True)
for t in threads:
    t.join()
