"""A Python program with a server inside, through ctypes: the same as embed.c.

    python3 examples/embed.py 127.0.0.1:8081

LHTTP_LIBRARY says where the library is, if the system does not find liblhttp.so.0.1 by itself.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint16, c_uint32, c_void_p, sizeof

lhttp = ctypes.CDLL(os.environ.get("LHTTP_LIBRARY", "liblhttp.so.0.1"))

# The declarations of lhttp.h that are used here.
Callback = CFUNCTYPE(None, c_void_p, c_void_p)


class Config(Structure):
    _fields_ = [("size", c_size_t), ("options", c_void_p), ("on_raw", Callback), ("raw_user", c_void_p)]


class Processor(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("on_open", Callback),
        ("on_message", Callback),
        ("on_close", Callback),
        ("user", c_void_p),
    ]


class Header(Structure):
    _fields_ = [("name", c_char_p), ("value", c_char_p)]


LHTTP_OK, LHTTP_ERROR_FULL = 0, 6


def declare(name, result, *arguments):
    function = getattr(lhttp, name)
    function.restype, function.argtypes = result, arguments
    return function


last_error = declare("lhttp_last_error", c_char_p)
config_init = declare("lhttp_config_init", c_int, POINTER(Config), c_size_t)
config_set = declare("lhttp_config_set", c_int, POINTER(Config), c_char_p, c_char_p)
config_processor = declare("lhttp_config_processor", c_int, POINTER(Config), c_char_p, POINTER(Processor))
config_release = declare("lhttp_config_release", c_int, POINTER(Config))
start = declare("lhttp_start", c_int, POINTER(Config), POINTER(c_void_p))
local_port = declare("lhttp_local_port", c_uint16, c_void_p)
publish = declare("lhttp_publish", c_int, c_void_p, c_char_p, c_char_p, POINTER(Header), c_char_p, c_size_t)
stop = declare("lhttp_stop", c_int, c_void_p, c_uint32)
header = declare("lhttp_context_header", c_char_p, c_void_p, c_char_p)
send = declare("lhttp_send", c_int, c_void_p, c_char_p, c_size_t)
refuse = declare("lhttp_refuse", c_int, c_void_p, c_uint16, c_char_p, c_char_p)


def check(status):
    if status != LHTTP_OK:
        sys.exit(f"embed: {last_error().decode()}")


# Python must keep the callback for as long as the server may call it, so it has a name.
@Callback
def on_hello(context, user):
    name = header(context, b"name")
    if name is None:
        refuse(context, 400, b"no-name", b"say who you are in a header `name`")
        return
    text = b"hello, " + name
    send(context, text, len(text))


def tell_time(server, stopping):
    headers = (Header * 2)(Header(b"content-type", b"text/plain"), Header(None, None))
    status = LHTTP_OK
    while status in (LHTTP_OK, LHTTP_ERROR_FULL) and not stopping.is_set():
        text = str(int(time.time())).encode()
        status = publish(server, b"clock", b"time", headers, text, len(text))
        stopping.wait(1)


def main():
    # Before the server starts: its threads take no signals, and Python's main thread must wait for these.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    config, server = Config(), c_void_p()
    hello = Processor(size=sizeof(Processor), on_message=on_hello)
    check(config_init(byref(config), sizeof(config)))
    check(config_set(byref(config), b"listen", (sys.argv + ["127.0.0.1:8081"])[1].encode()))
    check(config_processor(byref(config), b"hello", byref(hello)))
    check(start(byref(config), byref(server)))
    check(config_release(byref(config)))
    print(f"listening on port {local_port(server)}", flush=True)

    stopping = threading.Event()
    clock = threading.Thread(target=tell_time, args=(server, stopping))
    clock.start()
    signal.sigwait(signals)
    stopping.set()
    check(stop(server, 5000))
    clock.join()
    print("stopped")


if __name__ == "__main__":
    main()
