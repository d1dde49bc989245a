//! A client of the JavaScript SDK that listens all the time, in a process of its own.

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread,
    time::Duration,
};

use crate::{failure::Failure, servers::Scratch};

const SCRIPT: &str = include_str!("../../../crash-reader.mjs");
/// The SDK below the repository's root.
const SDK: &str = "sdk/javascript/dist/lhttp.mjs";
/// How long the SDK may take to subscribe.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What came to the SDK.
#[derive(Debug, Default)]
struct Heard {
    channels: HashMap<String, Channel>,
    repeated: u64,
    gaps: u64,
}

#[derive(Debug, Default)]
struct Channel {
    numbers: HashSet<u64>,
    newest: Option<u64>,
}

impl Heard {
    fn line(&mut self, line: &str) {
        let Some((channel, number)) = line.split_once(' ') else { return };
        if channel == "gap" {
            self.gaps += 1;
        } else if let Ok(number) = number.parse() {
            let channel = self.channels.entry(channel.to_owned()).or_default();
            self.repeated +=
                u64::from(!channel.numbers.insert(number) || channel.newest.is_some_and(|had| number < had));
            channel.newest = channel.newest.max(Some(number));
        }
    }
}

/// The process. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Listener {
    child: Child,
    heard: Arc<Mutex<Heard>>,
    _files: Scratch,
}

impl Listener {
    /// Starts the SDK, and waits until it is subscribed to all channels.
    pub(super) fn start(
        node: &Path,
        sdk: Option<&Path>,
        address: SocketAddr,
        channels: &[String],
    ) -> Result<Self, Failure> {
        let sdk = sdk.map_or_else(find_sdk, |path| Ok(path.to_owned()))?;
        let sdk = fs::canonicalize(&sdk).map_err(Failure::io(format!("cannot find the SDK at {}", sdk.display())))?;
        let files = Scratch::make()?;
        let script = files.path().join("crash-reader.mjs");
        fs::write(&script, SCRIPT).map_err(Failure::io("cannot write the SDK's script"))?;
        let mut command = Command::new(node);
        // Node 20 has a WebSocket only with this; for later ones it is the default.
        command.arg("--experimental-websocket").arg(script).arg(sdk).arg(format!("ws://{address}/")).args(channels);
        // It ends with its stdin, also if this program is killed.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = child.map_err(|error| {
            Failure::NotInstalled(format!("{} does not start ({error}): give --node or --without-sdk", node.display()))
        })?;
        let stdout = child.stdout.take().expect("piped");
        let listener = Self { child, heard: Arc::default(), _files: files };
        let (heard, (ready, is_ready)) = (Arc::clone(&listener.heard), mpsc::channel());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line == "ready" {
                    let _ = ready.send(());
                }
                heard.lock().expect("no thread panics with it").line(&line);
            }
        });
        let subscribed = is_ready.recv_timeout(START_TIMEOUT);
        subscribed.map_err(|_| Failure::Server("the SDK does not subscribe; it may have said why above".into()))?;
        Ok(listener)
    }

    /// Whether this message came.
    pub(super) fn has(&self, channel: &str, number: u64) -> bool {
        self.heard().channels.get(channel).is_some_and(|channel| channel.numbers.contains(&number))
    }

    /// Messages that came twice or out of order, and reported gaps.
    pub(super) fn faults(&self) -> (u64, u64) {
        let heard = self.heard();
        (heard.repeated, heard.gaps)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no thread panics with it")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The SDK of this repository: from its root, or from target/release in it.
fn find_sdk() -> Result<PathBuf, Failure> {
    let built = env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(3)?.join(SDK)));
    let found = [Some(SDK.into()), built].into_iter().flatten().find(|path: &PathBuf| path.is_file());
    found.ok_or_else(|| Failure::NotInstalled(format!("there is no {SDK}: give --sdk or --without-sdk")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_come_twice_or_late_and_gaps_are_counted() {
        let mut heard = Heard::default();
        for line in ["ready", "a 1", "a 3", "b 1", "a 3", "a 2", "gap b", "b 2"] {
            heard.line(line);
        }
        assert_eq!((heard.repeated, heard.gaps), (2, 1));
        assert_eq!(heard.channels["a"].numbers, HashSet::from([1, 2, 3]));
    }
}
