//! Chance that can be had again: `SplitMix64` (Steele, Lea, Flood 2014). Nothing secret comes of it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::Range;

/// A stream of numbers that its seed decides.
#[derive(Debug)]
pub struct Chance(u64);

impl From<u64> for Chance {
    fn from(seed: u64) -> Self {
        Self(seed)
    }
}

/// A seed that nobody chose.
pub fn seed() -> u64 {
    RandomState::new().build_hasher().finish() % 1_000_000_000
}

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Another stream.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// A number within the range, which is not empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True `percent` times in a hundred.
    pub fn is(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// An index below `length`, if there is one.
    pub fn index(&mut self, length: usize) -> Option<usize> {
        let length = u64::try_from(length).unwrap();
        (length > 0).then(|| usize::try_from(self.next() % length).unwrap())
    }
}
