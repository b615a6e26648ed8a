//! Numbers and contents that look random and are the same for the same seed.

/// A sequence of numbers (xorshift64).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins the sequence of a seed.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Gives the next number, whatever it is.
    pub fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Gives a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound
    }
}

/// Gives bytes that differ from seed to seed and from place to place.
pub fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    (0..bytes.div_ceil(8)).flat_map(|_| numbers.any().to_le_bytes()).take(bytes).collect()
}
