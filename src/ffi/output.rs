//! Texts for C.

use std::ffi::CString;

/// NUL-terminated, without the NULs that it has: one of them would hide what follows it.
pub(super) fn text(text: impl Into<String>) -> CString {
    let mut bytes = text.into().into_bytes();
    bytes.retain(|&byte| byte != 0);
    CString::new(bytes).unwrap_or_default()
}
