//! The sections of `RESULTS.md`: each run replaces its own and keeps the others as they are.

/// Puts `body` between the markers of section `name`; a section that is not there is added at the end.
pub fn replace_section(text: &str, name: &str, body: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let section = format!("{begin}\n{}\n{end}", body.trim_end());
    let place = text.find(&begin).and_then(|start| {
        let length = text[start..].find(&end)?;
        Some((start, start + length + end.len()))
    });
    match place {
        Some((start, stop)) => format!("{}{section}{}", &text[..start], &text[stop..]),
        None if text.is_empty() => format!("{section}\n"),
        None => format!("{}\n\n{section}\n", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_section_is_replaced() {
        let text = "# Results\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nby hand\n\n<!-- begin b -->\nb\n<!-- end b -->\n";
        let expected = text.replace("old", "new");
        assert_eq!(replace_section(text, "a", "new\n"), expected);
    }

    #[test]
    fn a_missing_section_is_added_at_the_end() {
        let expected = "# Results\n\n<!-- begin a -->\nnew\n<!-- end a -->\n";
        assert_eq!(replace_section("# Results\n", "a", "new"), expected);
        assert_eq!(replace_section(expected, "a", "new"), expected);
    }
}
