//! Numbers that look random and are the same on every machine.

/// A generator of 64-bit numbers: the splitmix64 sequence of a seed.
#[derive(Debug, Clone)]
pub struct Numbers {
    state: u64,
}

impl Numbers {
    /// Begins the sequence of `seed`.
    pub fn new(seed: u64) -> Numbers {
        Numbers { state: seed }
    }

    /// Gives the next number.
    pub fn next_number(&mut self) -> u64 {
        // The increment and the two multipliers are those of splitmix64 (Steele, Lea, Flood: Fast splittable
        // pseudorandom number generators, 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Gives a number from 0 to `end` − 1; `end` is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_number() % end
    }

    /// Gives an index into a list of `length` items, which is not empty.
    pub fn index(&mut self, length: usize) -> usize {
        let end = u64::try_from(length).expect("a length fits 64 bits");
        usize::try_from(self.below(end)).expect("an index is below a length")
    }

    /// Fills `bytes` with content that no compression makes smaller.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_number().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_a_seed_is_the_same_everywhere() {
        // The first value of splitmix64 for the seed 0 is published with many implementations.
        assert_eq!(Numbers::new(0).next_number(), 0xe220_a839_7b1d_cdaf);
        let mut bytes = [0; 11];
        Numbers::new(0).fill(&mut bytes);
        assert_eq!(bytes[..8], 0xe220_a839_7b1d_cdaf_u64.to_le_bytes());
    }

    #[test]
    fn limits_are_kept() {
        let mut numbers = Numbers::new(7);
        assert!((0..1_000).all(|_| numbers.below(3) < 3));
        assert!((0..1_000).all(|_| numbers.index(1) == 0));
    }
}
