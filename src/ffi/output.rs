//! Texts for C.

use std::ffi::CString;

/// Makes a NUL-terminated text and drops the NULs inside: such a NUL would hide the rest of the text.
pub(super) fn text(text: impl Into<String>) -> CString {
    let mut bytes = text.into().into_bytes();
    bytes.retain(|&byte| byte != 0);
    CString::new(bytes).unwrap_or_default()
}
