//! Checks of arguments that several topics share: numbers that the wire carries signed and the kernel takes unsigned.

use guestfs_api::Failure;

/// Reads a count, size or offset.
pub fn non_negative(procedure: &str, argument: &str, number: i64) -> Result<u64, Failure> {
    u64::try_from(number)
        .map_err(|_| Failure::plain(format!("{procedure}: {argument} is {number}: it must not be negative")))
}

/// Reads permission bits: 0 to 07777.
pub fn permissions(procedure: &str, mode: i32) -> Result<u32, Failure> {
    match u32::try_from(mode) {
        Ok(bits @ 0..=0o7777) => Ok(bits),
        Ok(bits) => Err(Failure::plain(format!("{procedure}: mode 0{bits:o} has bits beyond 07777"))),
        Err(_) => Err(Failure::plain(format!("{procedure}: mode is {mode}: it must not be negative"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_have_twelve_bits() {
        assert_eq!(permissions("chmod", 0), Ok(0));
        assert_eq!(permissions("chmod", 0o7777), Ok(0o7777));
        let failure = permissions("chmod", 0o10000).unwrap_err();
        assert_eq!(failure, Failure::plain("chmod: mode 010000 has bits beyond 07777"));
        let failure = permissions("chmod", -1).unwrap_err();
        assert_eq!(failure, Failure::plain("chmod: mode is -1: it must not be negative"));
    }

    #[test]
    fn numbers_are_not_negative() {
        assert_eq!(non_negative("pread", "count", i64::MAX), Ok(9_223_372_036_854_775_807));
        let failure = non_negative("pread", "offset", -7).unwrap_err();
        assert_eq!(failure, Failure::plain("pread: offset is -7: it must not be negative"));
    }
}
