"""May have few descriptors, never closes what it accepts, and tries again at
once when accept() fails: an event loop that does not stop."""
import resource
import select
import socket

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(16)
resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
print("listening %s:%d" % listener.getsockname(), flush=True)
accepted = []
failed = 0
while True:
    select.select([listener], [], [])
    try:
        accepted.append(listener.accept()[0])
    except OSError as e:
        failed += 1
        if failed == 1:
            print("failing with", e.errno, flush=True)
