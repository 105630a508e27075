"""A proxy by the standard library, one request at a time, that asks a backend."""
import http.server, os, sys, urllib.request


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = "http://127.0.0.1:%s%s" % (os.environ["BACKEND"], self.path)
        with urllib.request.urlopen(url, timeout=600) as answer:
            body = answer.read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Proxy)
print("ready", flush=True)
server.serve_forever()
