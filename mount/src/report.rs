//! How an error is told to people: in one line, each cause once.

use std::fmt::Display;

/// Gives an error and its causes, from the outermost in, without those that the text before already tells.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        add(&mut text, cause);
    }
    text
}

fn add(text: &mut String, cause: &dyn Display) {
    let cause = cause.to_string();
    if text.is_empty() {
        *text = cause;
    } else if !text.contains(&cause) {
        text.push_str(": ");
        text.push_str(&cause);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_that_is_part_of_the_text_is_not_told_again() {
        let cause = std::io::Error::from_raw_os_error(libc::EACCES);
        let text = format!("open /x: {cause}; ask its owner");
        let error = Err::<(), _>(cause).context(text.clone()).context("read the list").unwrap_err();
        assert_eq!(one_line(&error), format!("read the list: {text}"));
    }
}
