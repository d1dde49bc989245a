#!/usr/bin/env python3
"""Makes a token for lhttpd with Python's standard library. Copy make_token into your program.

    openssl rand -hex 32 > secret && chmod 600 secret
    lhttpd --token-key secret &
    python3 token.py secret mike 'room.*'
"""

import base64
import hashlib
import hmac
import json
import sys
import time


def make_token(secret: bytes, user: str, subscribe=(), publish=(), seconds=3600, **more) -> str:
    """A token for `user`, which is valid for so many seconds. `more` are other claims, for example iss or aud."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def encode_json(value) -> str:
        return encode(json.dumps(value, separators=(",", ":")).encode())

    head = {"alg": "HS256", "typ": "JWT"}
    claims = {
        "sub": user,
        "exp": int(time.time()) + seconds,
        "lhttp.subscribe": list(subscribe),
        "lhttp.publish": list(publish),
        **more,
    }
    signed = encode_json(head) + "." + encode_json(claims)
    return signed + "." + encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: token.py SECRET-FILE USER [CHANNEL...]")
    # As lhttpd does, without the line break at the end.
    with open(sys.argv[1], "rb") as file:
        secret = file.read().removesuffix(b"\n")
    channels = sys.argv[3:]
    print(make_token(secret, sys.argv[2], subscribe=channels, publish=channels))
