"""A server of one thread that answers at once."""
import http.server, sys


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *args):
        pass


http.server.HTTPServer.request_queue_size = 128
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Hello)
print("ready", flush=True)
server.serve_forever()
