//! Reading a file that an option names.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A file with certificates, keys or a login is a few KiB. A larger one is another file, such as a device.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The content of the file, 1 MiB at most.
///
/// # Errors
/// The file cannot be read, or is too large.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(content)
}
