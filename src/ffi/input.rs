//! Reads through C's pointers. Each function takes the argument's name for its sentence, and is `unsafe` for the same
//! reason. A pointer that is neither NULL nor misaligned must point to a value of its type; only the caller can know that
//! (`lhttp.h` says so). A borrowed value must not change while it is used.

use std::{
    ffi::{CStr, c_char, c_void},
    slice, str,
};

use crate::{config::Config, ffi::status::Failure, protocol::message::Message};

/// `lhttp_header`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct LhttpHeader {
    pub(super) name: *const c_char,
    pub(super) value: *const c_char,
}

/// A NUL-terminated UTF-8 text.
pub(super) unsafe fn text<'a>(name: &str, text: *const c_char) -> Result<&'a str, Failure> {
    check_pointer(name, text)?;
    // SAFETY: not NULL, and the caller gives a NUL-terminated text.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument(format!("{name} is not UTF-8: {:?}", text.to_string_lossy())))
}

/// The same; NULL gives `None`.
pub(super) unsafe fn optional_text<'a>(name: &str, given: *const c_char) -> Result<Option<&'a str>, Failure> {
    if given.is_null() {
        return Ok(None);
    }
    // SAFETY: as for this function.
    unsafe { text(name, given) }.map(Some)
}

/// `len` bytes; the pointer may be NULL if `len` is 0.
pub(super) unsafe fn bytes<'a>(name: &str, data: *const c_void, len: usize) -> Result<&'a [u8], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check_pointer(name, data.cast::<u8>())?;
    if isize::try_from(len).is_err() {
        return Err(Failure::argument(format!("{name} cannot have {len} bytes")));
    }
    // SAFETY: not NULL, not longer than an object can be, and the caller gives as many bytes.
    Ok(unsafe { slice::from_raw_parts(data.cast::<u8>(), len) })
}

/// Headers up to the one whose name is NULL; NULL means no headers.
pub(super) unsafe fn headers<'a>(first: *const LhttpHeader) -> Result<Vec<(&'a str, &'a str)>, Failure> {
    let mut headers = Vec::new();
    if first.is_null() {
        return Ok(headers);
    }
    check_pointer("headers", first)?;
    loop {
        // SAFETY: `first` is neither NULL nor misaligned, and the caller's array goes on until a name is NULL.
        let header = unsafe { *first.add(headers.len()) };
        if header.name.is_null() {
            return Ok(headers);
        }
        if headers.len() == Config::HEADERS_CEILING {
            return Err(Failure::argument("headers: they have no end, the last one's name must be NULL"));
        }
        // SAFETY: as for this function.
        headers.push(unsafe { (text("a header's name", header.name)?, text("a header's value", header.value)?) });
    }
}

/// A message of C's own.
pub(super) unsafe fn message(
    command: *const c_char,
    header: *const LhttpHeader,
    body: *const c_void,
    len: usize,
) -> Result<Message, Failure> {
    // SAFETY: as for this function.
    let (command, headers, body) = unsafe { (text("command", command)?, headers(header)?, bytes("body", body, len)?) };
    let mut message = Message::new(command)?;
    for (name, value) in headers {
        message.add_header(name, value)?;
    }
    message.set_body(body);
    Ok(message)
}

/// Checks the pointer for a result before the function does anything.
pub(super) fn check_out<T>(name: &str, place: *mut T) -> Result<(), Failure> {
    check_pointer(name, place)
}

/// Writes a result through the caller's pointer.
pub(super) unsafe fn put<T>(name: &str, place: *mut T, value: T) -> Result<(), Failure> {
    check_pointer(name, place)?;
    // SAFETY: neither NULL nor misaligned, and the caller gives a place for a value of this type. The old value is not
    // read, so it may be anything.
    unsafe { place.write(value) };
    Ok(())
}

pub(super) fn check_pointer<T>(name: &str, pointer: *const T) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::argument(format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!(
            "{name} is misaligned: {pointer:p} is not a multiple of {}",
            align_of::<T>()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    fn sentence<T>(result: Result<T, Failure>) -> String {
        result.map(|_| ()).expect_err("it must be refused").sentence
    }

    #[test]
    fn an_argument_that_cannot_be_read_is_refused_with_its_name() {
        let numbers = [0u64; 2];
        let odd = numbers.as_ptr().cast::<u8>().wrapping_add(1);
        // SAFETY: refused pointers are not read, and the rest are literals.
        unsafe {
            assert_eq!(sentence(text("name", ptr::null())), "name is NULL");
            assert_eq!(sentence(text("name", c"a\xff".as_ptr())), "name is not UTF-8: \"a\u{fffd}\"");
            assert_eq!(optional_text("name", ptr::null()).unwrap(), None);
            assert_eq!(text("name", c"µ".as_ptr()).unwrap(), "µ");
            assert_eq!(sentence(bytes("body", ptr::null(), 1)), "body is NULL");
            assert_eq!(bytes("body", ptr::null(), 0).unwrap(), b"");
            assert!(sentence(bytes("body", odd.cast(), usize::MAX)).starts_with("body cannot have"));
            assert!(sentence(put::<u64>("place", odd.cast_mut().cast(), 1)).starts_with("place is misaligned"));
            assert!(sentence(headers(odd.cast())).starts_with("headers is misaligned"));
        }
    }

    #[test]
    fn headers_end_at_a_name_that_is_null() {
        let header = |name: &'static CStr, value: *const c_char| LhttpHeader { name: name.as_ptr(), value };
        let end = LhttpHeader { name: ptr::null(), value: ptr::null() };
        let two = [header(c"a", c"1".as_ptr()), header(c"b", c"".as_ptr()), end];
        let endless = vec![header(c"a", c"1".as_ptr()); Config::HEADERS_CEILING + 1];
        // SAFETY: the arrays are longer than the part that is read.
        unsafe {
            assert_eq!(headers(two.as_ptr()).unwrap(), [("a", "1"), ("b", "")]);
            assert_eq!(headers(ptr::null()).unwrap(), []);
            assert_eq!(sentence(headers([header(c"a", ptr::null()), end].as_ptr())), "a header's value is NULL");
            assert!(sentence(headers(endless.as_ptr())).contains("no end"));
        }
    }
}
