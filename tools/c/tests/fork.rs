//! Forked children: every call fails there at once, and the parent goes on.

mod common;

use std::process::Command;

use common::{Linkage, has, libraries};

const SOURCE: &str = "tools/c/tests/c/fork.c";

#[test]
fn every_call_fails_in_a_forked_child_and_the_parent_goes_on() {
    assert_eq!(common::run(SOURCE, Linkage::Shared), "done\n");
    assert_eq!(common::run(SOURCE, Linkage::Static), "done\n");
}

/// `multiprocessing` starts its workers in this way where it forks.
#[test]
fn a_python_worker_cannot_publish_for_its_parent() {
    if !has("python3") {
        return;
    }
    let library = libraries().join("liblhttp.so");
    let output = Command::new("python3").args(["-c", PYTHON]).env("LHTTP_LIBRARY", library).output().expect("it runs");
    let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.0, "worker: 16 16\nparent: 0 0\n", "{}", said.1);
}

const PYTHON: &str = r#"
import ctypes, multiprocessing, os
from ctypes import byref, c_size_t, c_void_p

lhttp = ctypes.CDLL(os.environ["LHTTP_LIBRARY"])

class Config(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("size", "options", "on_raw", "raw_user")]

def publish_and_stop(server):
    return lhttp.lhttp_publish(server, b"room", b"chat", None, None, c_size_t(0)), lhttp.lhttp_stop(server, 5000)

def work(server, results):
    results.put(publish_and_stop(server))

config, server = Config(), c_void_p()
assert lhttp.lhttp_config_init(byref(config), c_size_t(ctypes.sizeof(config))) == 0
assert lhttp.lhttp_config_set(byref(config), b"listen", b"127.0.0.1:0") == 0
assert lhttp.lhttp_start(byref(config), byref(server)) == 0
fork = multiprocessing.get_context("fork")
results = fork.SimpleQueue()
worker = fork.Process(target=work, args=(server, results))
worker.start()
print("worker:", *results.get())
worker.join()
print("parent:", *publish_and_stop(server))
"#;
