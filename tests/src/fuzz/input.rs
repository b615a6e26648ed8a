//! Takes numbers from the front of an input; where it has ended they are 0, so that every input means something.

/// What is left of an input.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    /// Says whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `length` bytes, or as many as are left.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes all that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Takes a byte.
    pub fn byte(&mut self) -> u8 {
        self.number::<1>()[0]
    }

    /// Takes two bytes, as the wire has them.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.number())
    }

    /// Takes four bytes, as the wire has them.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.number())
    }

    /// Takes eight bytes, as the wire has them.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.number())
    }

    /// Takes files to the end, at most as many as there are `names`: which of these (1 byte), its length (2), its content.
    pub fn files<'n>(mut self, names: &'n [&'n str]) -> impl Iterator<Item = (&'n str, &'a [u8])> {
        let file = move |_| {
            if self.is_empty() {
                return None;
            }
            let name = names[usize::from(self.byte()) % names.len()];
            let length = self.u16().into();
            Some((name, self.take(length)))
        };
        (0..names.len()).map_while(file)
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut number = [0; N];
        number[..taken.len()].copy_from_slice(taken);
        number
    }
}
