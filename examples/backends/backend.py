# Publishes, lists the channel, closes a user's connections: LHTTP_ADMIN=http://127.0.0.1:9091 python3 backend.py room anna
import json, os, sys, urllib.parse, urllib.request

def call(path, body=None):
    headers = {"Authorization": "Bearer " + os.environ.get("LHTTP_ADMIN_KEY", ""), "Content-Type": "application/json"}
    url, data = os.environ["LHTTP_ADMIN"] + path, None if body is None else json.dumps(body).encode()
    return json.load(urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10))

channel, user = sys.argv[1:]
print(json.dumps(call("/api/publish", {"channels": [channel], "body": "hello"})))
print(json.dumps(call("/api/channels?match=" + urllib.parse.quote(channel, safe=""))))
print(json.dumps(call("/api/disconnect", {"user": user, "reason": "bye"})))
