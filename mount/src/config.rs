//! The configuration files shared with the other libguestfs tools, of which one key matters here: `read_only`.
//!
//! The files are in libconfig's syntax; everything in them is parsed, so that a slip is reported with its line
//! instead of being passed over, and everything but the one key is then ignored.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What the configuration files say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Config {
    /// The access to use when neither `--ro` nor `--rw` is given; the last file that says it decides.
    pub read_only: Option<bool>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("configuration file {}: {source}; make it readable, or set HOME to your own folder", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What reading it answered.
        source: io::Error,
    },
    /// The file's text is not understood.
    #[error("configuration file {}, line {line}: {problem}; correct the line or remove it", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: &'static str,
    },
}

/// The file every user's run reads first.
const SYSTEM_FILE: &str = "/etc/libguestfs-tools.conf";
/// The file's name below a folder of the XDG base directories.
const XDG_FILE: &str = "libguestfs/libguestfs-tools.conf";
/// The file's name in the home directory.
const HOME_FILE: &str = ".libguestfs-tools.rc";

/// Reads the files the environment points at; a later file overrides an earlier one.
pub fn load() -> Result<Config, ConfigError> {
    load_files(&paths(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)))
}

/// Lists the files in the order they are read, given a way to look up environment variables.
fn paths(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from(SYSTEM_FILE)];
    let folders = variable("XDG_CONFIG_DIRS").unwrap_or_else(|| PathBuf::from("/etc/xdg"));
    // The first folder of the list is the most important one, so it comes last.
    let mut folders: Vec<PathBuf> =
        env::split_paths(&folders).filter(|folder| folder.is_absolute()).collect();
    folders.reverse();
    paths.extend(folders.into_iter().map(|folder| folder.join(XDG_FILE)));
    let home = variable("HOME");
    paths.extend(home.as_ref().map(|home| home.join(HOME_FILE)));
    let user_folder = variable("XDG_CONFIG_HOME").or_else(|| home.map(|home| home.join(".config")));
    paths.extend(user_folder.map(|folder| folder.join(XDG_FILE)));
    paths
}

fn load_files(paths: &[PathBuf]) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    for path in paths {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(source) => return Err(ConfigError::Read { path: path.clone(), source }),
        };
        config.read_only = parse(&text, path)?.read_only.or(config.read_only);
    }
    Ok(config)
}

/// Parses one file's text; `path` is for the error.
fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let mut reader = Reader { rest: text, line: 1 };
    reader.settings().map_err(|problem| ConfigError::Syntax {
        path: path.to_owned(),
        line: reader.line,
        problem,
    })
}

/// A piece of a file.
#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name, a number or a truth value: what stands between blanks and marks.
    Word(&'a str),
    /// A text in quotes.
    Text,
    /// One of `=:;,(){}[]`.
    Mark(char),
}

/// Reads tokens off the front of a file's text.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

type Problem = &'static str;

impl<'a> Reader<'a> {
    /// Reads all settings of the file.
    fn settings(&mut self) -> Result<Config, Problem> {
        let mut config = Config::default();
        while let Some(token) = self.next()? {
            match token {
                Token::Word(name)
                    if name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*') =>
                {
                    let value = self.assignment()?;
                    if name == "read_only" {
                        config.read_only = Some(truth(value)?);
                    }
                }
                Token::Mark(';' | ',') => {}
                Token::Word(_) | Token::Text | Token::Mark(_) => {
                    return Err("expected the name of a setting");
                }
            }
        }
        Ok(config)
    }

    /// Reads `= VALUE` and returns the word the value is, if it is one.
    fn assignment(&mut self) -> Result<Option<&'a str>, Problem> {
        match self.next()? {
            Some(Token::Mark('=' | ':')) => {}
            _ => return Err("expected = after the name of a setting"),
        }
        match self.next()? {
            Some(Token::Word(word)) => Ok(Some(word)),
            Some(Token::Text) => Ok(None),
            Some(Token::Mark(mark @ ('(' | '[' | '{'))) => self.skip_group(mark).map(|()| None),
            Some(Token::Mark(_)) | None => Err("expected a value"),
        }
    }

    /// Skips what is inside the brackets that `opening` opens, nested ones included.
    fn skip_group(&mut self, opening: char) -> Result<(), Problem> {
        let mut open = vec![opening];
        while let Some(last) = open.last() {
            let closing = match last {
                '(' => ')',
                '[' => ']',
                _ => '}',
            };
            match self.next()? {
                Some(Token::Mark(mark)) if mark == closing => {
                    open.pop();
                }
                Some(Token::Mark(mark @ ('(' | '[' | '{'))) => open.push(mark),
                Some(Token::Mark(')' | ']' | '}')) => {
                    return Err("a bracket that closes another kind of bracket");
                }
                Some(Token::Mark(_) | Token::Word(_) | Token::Text) => {}
                None => return Err("a bracket is never closed"),
            }
        }
        Ok(())
    }

    /// Takes the next token; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Token<'a>>, Problem> {
        self.skip_blanks_and_comments()?;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        match first {
            '"' => self.text().map(Some),
            '=' | ':' | ';' | ',' | '(' | ')' | '{' | '}' | '[' | ']' => {
                self.advance(1);
                Ok(Some(Token::Mark(first)))
            }
            '@' => Err("@include is not supported"),
            _ => {
                let is_word = |byte: char| byte.is_ascii_alphanumeric() || "-+._*".contains(byte);
                let end = self.rest.find(|byte| !is_word(byte)).unwrap_or(self.rest.len());
                if end == 0 {
                    return Err("a character that has no meaning here");
                }
                Ok(Some(Token::Word(self.advance(end))))
            }
        }
    }

    fn text(&mut self) -> Result<Token<'a>, Problem> {
        let mut is_escaped = false;
        for (at, character) in self.rest.char_indices().skip(1) {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '"' => {
                    self.advance(at + 1);
                    return Ok(Token::Text);
                }
                _ => {}
            }
        }
        Err("a text is never closed")
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), Problem> {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.advance(blanks);
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").ok_or("a comment is never closed")?;
                self.advance(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    /// Takes `length` bytes off the front, counting their lines.
    fn advance(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

fn truth(value: Option<&str>) -> Result<bool, Problem> {
    match value {
        Some(word) if word.eq_ignore_ascii_case("true") => Ok(true),
        Some(word) if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("read_only must be true or false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_only(text: &str) -> Result<Option<bool>, String> {
        parse(text, Path::new("c")).map(|config| config.read_only).map_err(|error| error.to_string())
    }

    #[test]
    fn the_key_is_found_in_every_notation() {
        for text in [
            "read_only = true;",
            "read_only=TRUE",
            "read_only : true,",
            "# read_only = false;\nread_only = true;",
            "// read_only = false;\n/* read_only =\nfalse */ read_only = true",
            "read_only = false; read_only = true;",
        ] {
            assert_eq!(read_only(text), Ok(Some(true)), "{text}");
        }
        assert_eq!(read_only("read_only = false;"), Ok(Some(false)));
        assert_eq!(read_only("# read_only = true;\n"), Ok(None));
    }

    #[test]
    fn other_settings_are_passed_over() {
        let text = r#"
            name = "quoted \" = true; {";
            number = -0x1F; float = 1.5e3;
            group : { read_only = false; list = ( 1, [2, 3], { x = "}"; } ); };
            read_only = true;
        "#;
        assert_eq!(read_only(text), Ok(Some(true)));
    }

    #[test]
    fn a_slip_is_reported_with_its_line() {
        let line = |text: &str| read_only(text).unwrap_err();
        assert_eq!(
            line("a = 1;\nread_only = maybe;"),
            "configuration file c, line 2: read_only must be true or false; correct the line or remove it"
        );
        for (text, line_number) in [
            ("read_only true", 1),
            ("\n\nread_only =", 3),
            ("x = (1, 2;\n", 2),
            ("x = ( ]", 1),
            ("= true", 1),
            ("x = \"never\nclosed", 1),
            ("/* never", 1),
            ("@include \"y\"", 1),
            ("?", 1),
            ("1 = 2", 1),
        ] {
            let message = line(text);
            assert!(message.contains(&format!("line {line_number}:")), "{text:?}: {message}");
        }
    }

    #[test]
    fn the_users_own_file_is_read_last() {
        let paths = paths(|name| {
            match name {
                "XDG_CONFIG_DIRS" => Some("/most:/least"),
                "HOME" => Some("/home/ada"),
                _ => None,
            }
            .map(PathBuf::from)
        });
        let expected = [
            "/etc/libguestfs-tools.conf",
            "/least/libguestfs/libguestfs-tools.conf",
            "/most/libguestfs/libguestfs-tools.conf",
            "/home/ada/.libguestfs-tools.rc",
            "/home/ada/.config/libguestfs/libguestfs-tools.conf",
        ];
        assert_eq!(paths, expected.map(PathBuf::from));
    }

    #[test]
    fn a_later_file_overrides_and_a_missing_one_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1"), folder.path().join("2"));
        fs::write(&first, "read_only = true;").unwrap();
        let missing = folder.path().join("none");
        let load = || load_files(&[first.clone(), second.clone(), missing.clone()]).unwrap().read_only;
        assert_eq!(load(), Some(true));
        fs::write(&second, "read_only = false;").unwrap();
        assert_eq!(load(), Some(false));
        fs::write(&second, "other = 1;").unwrap();
        assert_eq!(load(), Some(true));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = load_files(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("configuration file {}: ", folder.path().display())), "{error}");
    }
}
