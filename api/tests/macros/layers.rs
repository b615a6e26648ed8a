//! Layers that stand on another implementation and change a part of it.

use std::ops::Deref;

use guestfs_api::values::FileName;
use guestfs_api::{Failure, FileIn, FileOut, Procedures, Remote};

use crate::in_process::InProcess;
use crate::topic::{self, DescribeOptions, NotesLayer};

/// Says each word twice.
struct Twice<N>(N);

impl<N: Procedures> Procedures for Twice<N> {
    type Error = N::Error;
}

impl<N: topic::Notes> NotesLayer for Twice<N> {
    type Below = N;

    fn below(&self) -> impl Deref<Target = N> {
        &self.0
    }

    fn join(
        &self,
        separator: &str,
        words: &[String],
        times: i32,
        tail: Option<u64>,
    ) -> Result<Vec<String>, N::Error> {
        let words = words.iter().flat_map(|word| [word.clone(), word.clone()]).collect::<Vec<_>>();
        self.0.join(separator, &words, times, tail)
    }
}

/// Uses any implementation of the topic.
fn joined(notes: &impl topic::Notes<Error = Failure>) -> Vec<String> {
    notes.join("-", &["a".to_owned()], 1, None).unwrap()
}

#[test]
fn layers_stack_and_change_what_they_write() {
    assert_eq!(joined(&Twice(Remote(InProcess::default()))), ["a-a"]);
    assert_eq!(joined(&Twice(Twice(Remote(InProcess::default())))), ["a-a-a-a"]);
}

#[test]
fn a_layer_passes_on_what_it_does_not_write() {
    let layer: &dyn topic::Notes<Error = Failure> = &Twice(Twice(Remote(InProcess::default())));
    let name = FileName::try_from("note").unwrap();
    layer.ping().unwrap();
    let options = DescribeOptions { width: Some(7), ..Default::default() };
    assert_eq!(layer.describe(&name, &options).unwrap().0[0].1, format!("{options:?}"));
    assert_eq!(layer.store(FileIn { content: &mut &b"content"[..], length: Some(7) }, &name).unwrap(), 7);
    let mut fetched = Vec::new();
    layer.fetch(&name, FileOut::new(&mut fetched), 3).unwrap();
    assert_eq!(fetched, b"tent");
    assert_eq!(layer.r#match(1, true, b"x", 2, "y").unwrap(), "1 true [120] 2 y");
}
