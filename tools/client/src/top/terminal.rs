//! A terminal that shows one screen, and puts back what it had when it is dropped.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag, low_level,
};

use super::screen::Line;

/// Another screen, without a cursor; and the way back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The terminal of this process.
pub(super) struct Terminal {
    /// How standard input was; `None` if it is no terminal.
    before: Option<Termios>,
    /// Standard input has ended.
    is_deaf: bool,
    /// The signal that ends this process; 0 if none has come.
    signal: Arc<AtomicUsize>,
}

impl Terminal {
    /// # Errors
    /// The terminal cannot be written to.
    pub(super) fn open() -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGHUP, SIGINT, SIGTERM] {
            flag::register_usize(number, Arc::clone(&signal), number as usize)?;
        }
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            // Keys come at once and unseen; Ctrl-C is a key.
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        }
        let terminal = Self { is_deaf: before.is_none(), before, signal };
        write!(io::stdout(), "{ENTER}")?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        let size = tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
    }

    /// Shows these lines, as far as they fit.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn show(&self, lines: &[Line]) -> io::Result<()> {
        let (columns, rows) = self.size().unwrap_or(super::SIZE);
        let mut screen = String::from("\x1b[H");
        for line in lines.iter().take(rows.saturating_sub(1)) {
            let (on, off) = if line.is_loud { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
            screen.push_str(&format!("{on}{}{off}\x1b[K\r\n", line.cut(columns)));
        }
        screen.push_str("\x1b[Jq quits");
        let mut out = io::stdout().lock();
        out.write_all(screen.as_bytes())?;
        out.flush()
    }

    /// Waits this long for the key or the signal that ends it all. Returns whether it came.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn wait_for_end(&mut self, time: Duration) -> io::Result<bool> {
        let until = Instant::now() + time;
        while self.signal.load(Ordering::Relaxed) == 0 {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let stdin = io::stdin();
            let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
            let fds = if self.is_deaf { &mut fds[..0] } else { &mut fds[..] };
            match poll(fds, Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue, // a signal, or the window has another size
                Err(error) => return Err(error.into()),
            }
            let mut keys = [0; 64];
            let read = stdin.lock().read(&mut keys)?;
            self.is_deaf = read == 0;
            if keys[..read].iter().any(|key| matches!(key, b'q' | b'Q' | 3 | 4)) {
                return Ok(true);
            }
        }
        Ok(true)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = write!(io::stdout(), "{LEAVE}").and_then(|()| io::stdout().flush());
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        // Who sent it sees that the process ended by it.
        let signal = self.signal.load(Ordering::Relaxed);
        if signal != 0 {
            let _ = low_level::emulate_default_handler(signal as i32);
        }
    }
}
