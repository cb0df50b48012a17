"""The AWS CLI behind HTTP, for tests: nearly all that `aws` does is to start, and here each call is a fork of a process that
has started. `POST /sandbox/aws` takes an access key, its secret and the arguments, each ended by a NUL; the answer is
what was printed, with status 200 where the exit code was 0.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ForkingMixIn
from tempfile import TemporaryFile

from awscli.clidriver import create_clidriver

os.environ.update(AWS_PAGER="", AWS_ENDPOINT_URL="http://127.0.0.1:5000")
DRIVER = create_clidriver()


class Server(ForkingMixIn, HTTPServer):
    pass


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        key, secret, *argv = body.split("\0")[:-1]
        os.environ.update(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)
        with TemporaryFile() as printed:
            code = run(argv, printed)
            printed.seek(0)
            text = printed.read()
        self.send_response(200 if code == 0 else 500)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def run(argv, printed):
    """@returns the exit code; what it prints on stdout and stderr goes to `printed`"""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(printed.fileno(), stream.fileno())
    code = DRIVER.main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
