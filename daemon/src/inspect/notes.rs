//! What inspection could not read, understand or find, for people to read: bounded lists, for what they tell of is the
//! guest's.

use guestfs_api::values::ByteString;

/// The most notes about one thing; further ones would tell nobody more.
const NOTES_MAX: usize = 20;

/// The longest note, in bytes; the rest of a longer one is cut off.
const NOTE_BYTES_MAX: usize = 1024;

/// The last note of a list that is full.
const MORE: &str = "there is more that could not be read or found";

/// Adds a note to a list, once; when the list is full, one that says so.
pub fn add(notes: &mut Vec<String>, mut note: String) {
    let end = (0..=NOTE_BYTES_MAX).rev().find(|end| note.is_char_boundary(*end));
    note.truncate(end.unwrap_or(0).min(note.len()));
    if notes.contains(&note) {
        return;
    }
    match notes.len() {
        ..NOTES_MAX => notes.push(note),
        NOTES_MAX => notes.push(MORE.to_owned()),
        _ => {}
    }
}

/// Gives notes as they are sent; a NUL becomes U+FFFD.
pub fn sent(notes: &[String]) -> impl Iterator<Item = ByteString> {
    notes.iter().filter_map(|note| ByteString::try_from(note.replace('\0', "\u{fffd}").as_str()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_says_that_there_is_more() {
        let mut notes = Vec::new();
        (0..100).for_each(|number| add(&mut notes, (number / 2).to_string()));
        assert_eq!(notes.len(), NOTES_MAX + 1);
        assert_eq!((notes[NOTES_MAX - 1].as_str(), notes[NOTES_MAX].as_str()), ("19", MORE));
    }

    #[test]
    fn a_note_with_odd_text_is_told_all_the_same() {
        let mut notes = Vec::new();
        add(&mut notes, format!("x{}", "ä".repeat(NOTE_BYTES_MAX)));
        add(&mut notes, "a\0b".to_owned());
        let texts: Vec<ByteString> = sent(&notes).collect();
        assert_eq!(
            (texts[0].as_bytes().len(), texts[1].as_bytes()),
            (NOTE_BYTES_MAX - 1, "a\u{fffd}b".as_bytes())
        );
    }
}
