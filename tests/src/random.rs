//! Seeded randomness, so that a failing run can be named: SplitMix64.

/// A stream of numbers that depends on the seed alone.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed from the environment (`LATERNA_TEST_SEED`) or the clock, printed so that a failure can be repeated.
    pub fn from_environment(what: &str) -> Self {
        let clock =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock").as_nanos() as u64;
        let seed = std::env::var("LATERNA_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(clock);
        println!("{what}: LATERNA_TEST_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }
}
