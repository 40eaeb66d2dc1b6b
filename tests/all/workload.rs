//! What the load consists of.

use laterna_tests::load::Draft;
use laterna_tests::random::Random;

/// Keys and whole numbers; now and then a tombstone, a null key, an empty value, headers with and without a value.
pub(crate) fn mixed(number: u64, random: &mut Random) -> Draft {
    let draw = random.draw();
    let mut draft = Draft::text(format!("k{}", random.below(50)), (random.below(2_000) as i64 - 1_000).to_string());
    match draw % 40 {
        0 | 1 => draft.value = None,
        2 => draft.key = None,
        3 => draft.value = Some(Vec::new()),
        4 => {
            draft.headers =
                vec![("null".to_owned(), None), ("number".to_owned(), Some(number.to_string().into_bytes()))]
        }
        5 => draft.key = Some("clé 鍵 'quoted\" \\".as_bytes().to_vec()),
        _ => {}
    }
    draft
}

/// A number in one of `partitions` partitions, and what the load says for it.
pub(crate) fn spread(partitions: i32) -> impl FnMut(u64, &mut Random) -> Draft + Send + 'static {
    move |number, random| {
        let partition = random.below(partitions as u64) as i32;
        mixed(number, random).at(partition)
    }
}
