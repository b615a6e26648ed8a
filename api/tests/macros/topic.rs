//! A topic with a procedure of each shape, and a server for it that keeps notes in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;

use guestfs_api::values::{ByteString, FileName};
use guestfs_api::xdr::Table;
use guestfs_api::{Errno, Failure, FileIn, FileOut, Procedures};
use guestfs_api_macros::{OptionalArguments, procedures};

/// Optional arguments of [`Notes::describe`]: one of each kind that can be optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct DescribeOptions {
    pub upper: Option<bool>,
    pub width: Option<i32>,
    pub limit: Option<i64>,
    pub title: Option<String>,
    pub tags: Option<Vec<String>>,
    pub r#type: Option<ByteString>,
}

/// Notes by name.
#[procedures(layer = NotesLayer)]
pub trait Notes {
    /// Neither arguments nor a result.
    #[procedure(200_001)]
    fn ping(&self) -> Result<(), Self::Error>;

    /// Plain arguments by reference and by value.
    #[procedure(200_002, group = "joining")]
    fn join(
        &self,
        separator: &str,
        words: &[String],
        times: i32,
        tail: Option<u64>,
    ) -> Result<Vec<String>, Self::Error>;

    /// Optional arguments.
    #[procedure(200_003)]
    fn describe(
        &self,
        name: &FileName,
        #[optional] options: &DescribeOptions,
    ) -> Result<Table<String, String>, Self::Error>;

    /// A file for the server; gives its length as announced, or −1.
    #[procedure(200_004)]
    fn store(&self, content: FileIn<'_>, name: &FileName) -> Result<i64, Self::Error>;

    /// A file from the server, between plain arguments.
    #[procedure(200_005)]
    fn fetch(&self, name: &FileName, content: FileOut<'_>, offset: u32) -> Result<(), Self::Error>;

    /// Names that generated code uses too, and a keyword of Rust.
    #[procedure(200_006)]
    fn r#match(
        &self,
        request: i32,
        served: bool,
        server: &[u8],
        result: u32,
        r#type: &str,
    ) -> Result<String, Self::Error>;
}

/// Serves [`Notes`].
#[derive(Default)]
pub struct Desk {
    pub notes: RefCell<BTreeMap<FileName, Vec<u8>>>,
}

impl Procedures for Desk {
    type Error = Failure;
}

impl Notes for Desk {
    fn ping(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn join(
        &self,
        separator: &str,
        words: &[String],
        times: i32,
        tail: Option<u64>,
    ) -> Result<Vec<String>, Failure> {
        let times = usize::try_from(times).map_err(|_| Failure::errno(Errno::EDOM, "join"))?;
        let tail = tail.map(|tail| tail.to_string());
        Ok(vec![words.join(separator); times].into_iter().chain(tail).collect())
    }

    fn describe(&self, name: &FileName, options: &DescribeOptions) -> Result<Table<String, String>, Failure> {
        Ok(Table(vec![(name.to_string(), format!("{options:?}"))]))
    }

    fn store(&self, content: FileIn<'_>, name: &FileName) -> Result<i64, Failure> {
        let mut note = Vec::new();
        content.content.read_to_end(&mut note).map_err(|error| Failure::io(&error, "store"))?;
        self.notes.borrow_mut().insert(name.clone(), note);
        Ok(content.length.map_or(-1, |length| i64::try_from(length).expect("test files are small")))
    }

    fn fetch(&self, name: &FileName, content: FileOut<'_>, offset: u32) -> Result<(), Failure> {
        let notes = self.notes.borrow();
        let note = notes.get(name).ok_or_else(|| Failure::errno(Errno::ENOENT, format!("fetch {name}")))?;
        let start = usize::try_from(offset).expect("usize has at least 32 bits here").min(note.len());
        content.content.write_all(&note[start..]).map_err(|error| Failure::io(&error, "fetch"))
    }

    fn r#match(
        &self,
        request: i32,
        served: bool,
        server: &[u8],
        result: u32,
        r#type: &str,
    ) -> Result<String, Failure> {
        Ok(format!("{request} {served} {server:?} {result} {type}"))
    }
}
