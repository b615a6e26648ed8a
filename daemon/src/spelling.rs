//! Names that differ only in capital and small letters, which Windows takes for the same.

/// Tells whether two names are the same but for capital and small letters. Letters are compared as NTFS does: each by the
/// one capital letter that stands for it. Names that are not UTF-8 are compared by their ASCII letters.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    match (std::str::from_utf8(one), std::str::from_utf8(other)) {
        (Ok(one), Ok(other)) => one.chars().map(capital).eq(other.chars().map(capital)),
        _ => one.eq_ignore_ascii_case(other),
    }
}

/// Gives the capital letter of a letter; itself where there is none, or where two letters would take its place.
fn capital(letter: char) -> char {
    let mut capitals = letter.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => capital,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_the_same_in_either_case_and_nothing_else_is() {
        for (one, other) in [("Windows", "WINDOWS"), ("Übung.txt", "übung.TXT"), ("Ωmega", "ωMEGA"), ("", "")]
        {
            assert!(is_same(one.as_bytes(), other.as_bytes()), "{one} {other}");
        }
        for (one, other) in [("a", "ab"), ("straße", "STRASSE"), ("a_b", "a-b"), ("ﬁn", "FIN")] {
            assert!(!is_same(one.as_bytes(), other.as_bytes()), "{one} {other}");
        }
        assert!(is_same(b"a\xff", b"A\xff") && !is_same(b"\xe9", b"\xc9"));
    }
}
