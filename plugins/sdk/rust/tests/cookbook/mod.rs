//! The page that the recipes stand on.

/// Holds what stands between the two lines of a test against `docs/plugins/cookbook.md`, word for word.
pub(crate) fn stands_on_the_page(source: &str) {
    let recipe = source.split("// -- page\n").nth(1).expect("a recipe between two lines");
    let page = include_str!("../../../../../docs/plugins/cookbook.md");
    assert!(page.contains(&format!("```rust\n{recipe}```")), "not on the page as it is here:\n{recipe}");
}
