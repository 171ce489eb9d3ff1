"""Asks once over HTTPS with what Python brings along, and prints what came of it."""

import json
import ssl
import sys
import urllib.error
import urllib.request

port, ca, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
context = ssl.create_default_context(cafile=ca)
if "crl" in options:
    context.load_verify_locations(cafile=options["crl"])
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
try:
    with urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=options.get("timeout", 20)) as answer:
        print("ok", answer.read().decode())
except urllib.error.URLError as error:
    print(type(error.reason).__name__, error.reason)
except Exception as error:
    print(type(error).__name__, error)
