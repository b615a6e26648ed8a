//! How things are told to people on standard error: an error in one line, each cause once, and nothing that a guest
//! wrote as a command to the terminal.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard error. A mount goes on when nobody reads there any more.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(&line.to_string()));
}

/// Writes a piece of the appliance's console to standard error, as [`say`] does.
pub fn show_console(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    let _ = write!(io::stderr().lock(), "{}", printable(&text));
}

/// Shows control characters but newlines and tabs as escapes: names and messages come from the guest.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            _ if character.is_control() => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    shown
}

/// Gives what a guest may have written as a part of one line.
pub fn on_one_line(text: impl Display) -> String {
    printable(&text.to_string()).replace('\n', "; ")
}

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

    #[test]
    fn a_name_of_the_guest_does_not_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2J\u{9b}b\r\n\tcafé"), "a\\u{1b}[2J\\u{9b}b\\r\n\tcafé");
    }
}
