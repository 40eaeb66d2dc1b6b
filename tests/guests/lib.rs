//! Plugins for tests and benchmarks, built by `tests/guests/build`. Each file here is one; its first line says what a
//! test may expect of it. This library is what several of them share.

/// 64 bits of FNV-1a, as an `i64`: one number for the bytes of a value, and easy to compute anywhere.
pub fn fnv1a(bytes: &[u8]) -> i64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash.cast_signed()
}

/// Whether the event's value contains `word`: how a test tells a guest to misbehave.
pub fn asks_for(event: &laterna_sdk::Event, word: &str) -> bool {
    event.bytes().is_some_and(|value| value.windows(word.len()).any(|part| part == word.as_bytes()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(super::fnv1a(b""), 0xcbf2_9ce4_8422_2325u64.cast_signed());
        assert_eq!(super::fnv1a(b"foobar"), 0x8594_4171_f739_67e8u64.cast_signed());
    }
}
