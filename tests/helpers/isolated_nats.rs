//! A nats-server behind a network that a test can cut as real networks fail: packets vanish without a notice.
//!
//! A test runs in its own network namespace, and its nats-server in another. Two pairs of interfaces join them: one
//! that the test can cut, and one on which the test watches the server during the cut. All of it ends with its
//! processes.

use std::{
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use super::{PATIENCE, namespace::run, wait_until};

const MAC: &str = "02:00:00:00:00:02";

/// A running nats-server in a namespace. Dropping it kills the process, and so ends the namespace.
pub(crate) struct IsolatedNats(Child);

impl IsolatedNats {
    /// The server's address on the network that can be cut; this side's end of it is `host`.
    pub(crate) const SERVER: &str = "10.9.0.2:4222";
    /// The server's address on the network that is never cut.
    pub(crate) const SERVER_SEEN: &str = "10.9.1.2:4222";

    pub(crate) fn start() -> Self {
        // The script waits for the interfaces, which can be made only once there is a process to give them to.
        let script = "until ip -4 address show dev seen 2>/dev/null | grep -q inet; do sleep 0.02; done
            exec nats-server -a 0.0.0.0 -p 4222 --log /dev/null";
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let isolated = Self(command.spawn().expect("unshare runs"));
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let namespace = format!("/proc/{}/ns/net", isolated.0.id());
        let is_apart = || std::fs::read_link(&namespace).is_ok_and(|theirs| theirs != own);
        assert!(wait_until(is_apart, PATIENCE), "unshare makes no namespace");
        for (network, here, there) in [("10.9.0", "to-cut", "cut"), ("10.9.1", "to-seen", "seen")] {
            let pid = isolated.0.id().to_string();
            run("ip", &["link", "add", here, "type", "veth", "peer", "name", there, "netns", &pid]);
            run("ip", &["address", "add", &format!("{network}.1/24"), "dev", here]);
            run("ip", &["link", "set", here, "up"]);
            isolated.ip(&["link", "set", there, "address", MAC, "up"]);
            isolated.ip(&["address", "add", &format!("{network}.2/24"), "dev", there]);
            // Otherwise this side would learn that the neighbour is gone, and not even send.
            run("ip", &["neighbor", "add", &format!("{network}.2"), "lladdr", MAC, "dev", here]);
        }
        let accepts = || TcpStream::connect(Self::SERVER).is_ok() && TcpStream::connect(Self::SERVER_SEEN).is_ok();
        assert!(wait_until(accepts, PATIENCE), "nats-server does not start");
        isolated
    }

    /// From now on every packet vanishes, in both directions.
    pub(crate) fn cut(&self) {
        self.ip(&["address", "delete", "10.9.0.2/24", "dev", "cut"]);
    }

    /// Packets arrive again.
    pub(crate) fn restore(&self) {
        self.ip(&["address", "add", "10.9.0.2/24", "dev", "cut"]);
    }

    fn ip(&self, args: &[&str]) {
        let pid = self.0.id().to_string();
        run("nsenter", &[&["--target", &pid, "--net", "ip"], args].concat());
    }
}

impl Drop for IsolatedNats {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
