//! For tests: sources in which «marks» stand around the tokens that an error must point at.

use std::ops::Range;

use syn::parse::Parse;

/// Checks that `read` refuses the source with `message`, and that the error covers what is «marked» and nothing else.
#[track_caller]
pub fn assert_refused<Item: Parse, Out>(
    marked: &str,
    message: &str,
    read: impl FnOnce(Item) -> syn::Result<Out>,
) {
    let (source, expected) = split_marks(marked);
    let item = syn::parse_str(&source).expect("the source is well formed; only the macro refuses it");
    let Err(error) = read(item) else { panic!("accepted, but should be refused: {marked}") };
    assert_eq!(error.to_string(), message, "the message for {marked}");
    let covered = error.span().byte_range();
    assert_eq!(&source[covered.clone()], &source[expected.clone()], "the text the error for {marked} covers");
    assert_eq!(covered, expected, "where the error for {marked} begins and ends");
}

/// Takes the marks out of a source; gives the range of bytes they stood around.
fn split_marks(marked: &str) -> (String, Range<usize>) {
    let (before, rest) = marked.split_once('«').expect("the source has a mark");
    let (inside, after) = rest.split_once('»').expect("the mark is closed");
    (format!("{before}{inside}{after}"), before.len()..before.len() + inside.len())
}
