//! Files and lines, read up to a limit.

use std::{
    fs::File,
    io::{self, BufRead, Read},
    path::Path,
};

use crate::failure::Failure;

/// The longest body that is read from a file. It is far above the limits of servers, and bounds the memory.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 20;

/// The longest line.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Reads a whole file.
pub(crate) fn read_file(file: &Path) -> Result<Vec<u8>, Failure> {
    let body = File::open(file).map_err(|error| error.to_string()).and_then(read_body);
    body.map_err(|why| Failure::Usage(format!("{}: {why}", file.display())))
}

/// Reads all of standard input.
pub(crate) fn read_stdin() -> Result<Vec<u8>, Failure> {
    read_body(io::stdin()).map_err(|why| Failure::Usage(format!("standard input: {why}")))
}

fn read_body(source: impl Read) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    source.take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut body).map_err(|error| error.to_string())?;
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("it has more than {BODY_BYTES_MAX} bytes"));
    }
    Ok(body)
}

/// The lines of standard input, without their LF. After a line that cannot be read there are no more.
pub(crate) fn lines() -> impl Iterator<Item = Result<Vec<u8>, Failure>> {
    let mut input = io::stdin().lock();
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut line = Vec::new();
        match input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) if line.last() == Some(&b'\n') => drop(line.pop()),
            Ok(bytes) if bytes <= LINE_BYTES_MAX => {}
            Ok(_) => {
                ended = true;
                return Some(Err(Failure::Usage(format!("it has more than {LINE_BYTES_MAX} bytes"))));
            }
            Err(error) => {
                ended = true;
                return Some(Err(Failure::Usage(format!("it cannot be read: {error}"))));
            }
        }
        Some(Ok(line))
    })
}
