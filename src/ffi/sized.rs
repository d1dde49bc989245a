//! Structs that carry their own size, so that a program and a library of different versions understand each other.

use std::{
    mem::{self, MaybeUninit},
    ptr,
};

use crate::ffi::{
    input,
    status::{Failure, LhttpStatus},
};

/// A size that no version will reach: a larger value is uninitialized memory.
const SIZE_MAX: usize = 1024;

/// A struct of `lhttp.h` whose first field is its size in the program's version of it. New fields go behind the others,
/// and zero in a new field means the behaviour before it existed.
///
/// # Safety
/// It is `repr(C)`, begins with a `usize`, has no padding, a multiple of its alignment cuts none of its fields in two, and it
/// is valid when all its bytes are zero and when its fields
/// have any value that C can give to them.
pub(super) unsafe trait Versioned: Copy {
    /// Its name in a sentence.
    const NAME: &'static str;
    /// The size of the first version: no program has a smaller one.
    const SIZE_MIN: usize;
}

/// Reads a program's struct, which may be smaller or larger than ours.
///
/// # Errors
/// It is NULL, misaligned, never filled, or has a field set that this version does not know.
pub(super) unsafe fn read<T: Versioned>(given: *const T) -> Result<T, Failure> {
    input::check_pointer(T::NAME, given)?;
    // SAFETY: neither NULL nor misaligned, and every version begins with its size.
    let size = unsafe { given.cast::<usize>().read() };
    check_size::<T>(size)?;
    // SAFETY: the program's struct has as many bytes, as its size says.
    let bytes = unsafe { input::bytes(T::NAME, given.cast(), size) }?;
    let (known, unknown) = bytes.split_at(size.min(mem::size_of::<T>()));
    if unknown.iter().any(|&byte| byte != 0) {
        let sentence = format!("{}: the program sets a field that this library is too old for", T::NAME);
        return Err(Failure::new(LhttpStatus::ERROR_OPTION, sentence));
    }
    let mut read = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` is no longer than `read`, and `T` is valid with any bytes of C's followed by zeros.
    unsafe {
        ptr::copy_nonoverlapping(known.as_ptr(), read.as_mut_ptr().cast::<u8>(), known.len());
        Ok(read.assume_init())
    }
}

/// Fills a program's struct of `size` bytes with zeros behind its size.
///
/// # Errors
/// It is NULL or misaligned, or no version has this size.
pub(super) unsafe fn init<T: Versioned>(place: *mut T, size: usize) -> Result<(), Failure> {
    input::check_out(T::NAME, place)?;
    check_size::<T>(size)?;
    // SAFETY: neither NULL nor misaligned, and the caller gives a place of as many bytes, which begins with its size.
    unsafe {
        place.cast::<u8>().write_bytes(0, size);
        place.cast::<usize>().write(size);
    }
    Ok(())
}

/// A multiple of the alignment, which cuts no field in two.
fn check_size<T: Versioned>(size: usize) -> Result<(), Failure> {
    if (T::SIZE_MIN..=SIZE_MAX).contains(&size) && size.is_multiple_of(align_of::<T>()) {
        return Ok(());
    }
    Err(Failure::argument(format!("{}: {size} is not the size of one", T::NAME)))
}
