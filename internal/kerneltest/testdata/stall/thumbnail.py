"""Makes thumbnails by another program, one client at a time."""
import socketserver, subprocess, sys


class Thumbnails(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(subprocess.run(["sleep", "1000"], stdin=subprocess.DEVNULL).returncode.to_bytes(1, "big"))


socketserver.TCPServer.allow_reuse_address = True
with socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Thumbnails) as server:
    print("ready", flush=True)
    server.serve_forever()
