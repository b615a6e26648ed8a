//! The checksums of the protocol.

use std::io::{self, Read};

use guestfs_api::Failure;
use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// The names that the protocol gives them.
const NAMES: &str = "crc, md5, sha1, sha224, sha256, sha384 or sha512";

/// How a checksum is made.
pub enum Algorithm {
    /// POSIX cksum(1).
    Crc,
    /// A cryptographic hash.
    Hash(Box<dyn DynDigest>),
}

impl Algorithm {
    /// Finds the algorithm with this name.
    pub fn named(name: &str) -> Result<Algorithm, Failure> {
        let hash: Box<dyn DynDigest> = match name {
            "crc" => return Ok(Algorithm::Crc),
            "md5" => Box::new(Md5::default()),
            "sha1" => Box::new(Sha1::default()),
            "sha224" => Box::new(Sha224::default()),
            "sha256" => Box::new(Sha256::default()),
            "sha384" => Box::new(Sha384::default()),
            "sha512" => Box::new(Sha512::default()),
            _ => return Err(Failure::plain(format!("checksum: {name} is none of {NAMES}"))),
        };
        Ok(Algorithm::Hash(hash))
    }

    /// Reads `content` to its end, `buffer_bytes` at once, and gives the sum: a CRC as a decimal number, a hash in
    /// hexadecimal digits.
    pub fn sum(self, mut content: impl Read, buffer_bytes: usize) -> io::Result<String> {
        match self {
            Algorithm::Crc => {
                let mut crc = Crc::default();
                for_each_piece(&mut content, buffer_bytes, |piece| crc.update(piece))?;
                Ok(crc.finish().to_string())
            }
            Algorithm::Hash(mut hash) => {
                for_each_piece(&mut content, buffer_bytes, |piece| hash.update(piece))?;
                Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
            }
        }
    }
}

fn for_each_piece(
    content: &mut impl Read,
    buffer_bytes: usize,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; buffer_bytes];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The CRC of POSIX cksum: the content, then its length, the lowest byte first.
#[derive(Default)]
struct Crc {
    remainder: u32,
    length: u64,
}

/// For each highest byte of a remainder, what dividing it away leaves.
static REMAINDERS: [u32; 256] = remainders();

const fn remainders() -> [u32; 256] {
    /// IEEE 802.3's polynomial, as POSIX asks for.
    const POLYNOMIAL: u32 = 0x04c1_1db7;
    let mut table = [0; 256];
    let mut index = 0;
    let mut byte = 0;
    while index < table.len() {
        let mut remainder: u32 = byte << 24;
        let mut bit = 0;
        while bit < 8 {
            let divisor = if remainder >> 31 == 1 { POLYNOMIAL } else { 0 };
            remainder = (remainder << 1) ^ divisor;
            bit += 1;
        }
        table[index] = remainder;
        index += 1;
        byte += 1;
    }
    table
}

impl Crc {
    fn update(&mut self, bytes: &[u8]) {
        self.length = self.length.wrapping_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        bytes.iter().for_each(|byte| self.divide(*byte));
    }

    fn divide(&mut self, byte: u8) {
        let [highest, ..] = self.remainder.to_be_bytes();
        self.remainder = (self.remainder << 8) ^ REMAINDERS[usize::from(highest ^ byte)];
    }

    fn finish(mut self) -> u32 {
        let mut length = self.length;
        while length != 0 {
            let [lowest, ..] = length.to_le_bytes();
            self.divide(lowest);
            length >>= 8;
        }
        !self.remainder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(name: &str, content: &[u8]) -> String {
        Algorithm::named(name).unwrap().sum(content, 7).unwrap()
    }

    // Expected values: coreutils' cksum, md5sum, sha1sum, ... of the same bytes.
    #[test]
    fn sums_are_those_of_the_well_known_programs() {
        let content = b"The quick brown fox jumps over the lazy dog\n";
        assert_eq!(sum("crc", content), "2382472371");
        assert_eq!(sum("crc", b""), "4294967295");
        assert_eq!(sum("crc", &[0xff; 70_000]), "2060310866");
        assert_eq!(sum("md5", content), "37c4b87edffc5d198ff5a185cee7ee09");
        assert_eq!(sum("sha1", content), "be417768b5c3c5c1d9bcb2e7c119196dd76b5570");
        assert_eq!(sum("sha224", content), "62e514e536e4ed4633eeec99d60f97b4d95889227975d975b2ad0de3");
        assert_eq!(
            sum("sha256", content),
            "c03905fcdab297513a620ec81ed46ca44ddb62d41cbbd83eb4a5a3592be26a69"
        );
        assert_eq!(
            sum("sha384", content),
            "f565ad8f9c76cf8c4a2e145e712df740702e066a5908f6285eafa1a83a623e882207643ce5ec29628ff0186150275ef3"
        );
        assert_eq!(
            sum("sha512", content),
            "a12ac6bdd854ac30c5cc5b576e1ee2c060c0d8c2bec8797423d7119aa2b962f7f30ce2e39879cbff0109c8f0a3fd9389a369daae45df7d7b286d7d98272dc5b1"
        );
    }

    #[test]
    fn an_unknown_name_fails_with_the_known_ones() {
        let failure = Algorithm::named("sha3").err().unwrap();
        assert_eq!(failure, Failure::plain(format!("checksum: sha3 is none of {NAMES}")));
    }
}
