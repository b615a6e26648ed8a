//! Sequences of changes and questions for the cache and for the names of nodes, each about one thing that can be missed.

use super::Seed;
use crate::fuzz::cache::Step::{self, *};

/// A step: what, on which node, which name, and two more.
type Numbers = (Step, u8, u8, u8, u8);

/// A cache that forgets nothing.
const LARGE: u8 = 2;
/// One that forgets early.
const SMALL: u8 = 0;

pub fn cache() -> Vec<Seed> {
    let seed = |name, size: u8, steps: &[Numbers]| {
        let bytes =
            steps.iter().flat_map(|(step, node, name, more, last)| [*step as u8, *node, *name, *more, *last]);
        Seed::new("cache", name, [size].into_iter().chain(bytes).collect())
    };
    vec![
        // Node 0 is the root; what is made is numbered in order.
        seed(
            "two-names-of-a-file",
            LARGE,
            &[
                (Create, 0, 0, 0, 1),
                (List, 0, 0, 0, 0),
                (Link, 1, 1, 0, 0),
                (Lookup, 0, 0, 0, 0),
                (Lookup, 0, 1, 0, 0),
                (Write, 0, 9, 0, 7),
                (List, 0, 0, 0, 0),
                (Unlink, 0, 0, 0, 0),
                (Attributes, 1, 0, 0, 0),
                (Release, 0, 0, 0, 0),
            ],
        ),
        seed(
            "a-directory-that-moves",
            LARGE,
            &[
                (Mkdir, 0, 0, 0o55, 0),
                (Mkdir, 0, 1, 0o55, 0),
                (Create, 1, 2, 0, 0),
                (List, 0, 0, 0, 0),
                (List, 1, 0, 0, 0),
                (Rename, 0, 0, 2, 0),
                (List, 0, 0, 0, 0),
                (List, 2, 0, 0, 0),
                (RenameWithFlags, 2, 0, 0, 2),
                (List, 2, 0, 0, 0),
            ],
        ),
        seed(
            "a-rename-over-a-file",
            LARGE,
            &[
                (Create, 0, 0, 0, 0),
                (Create, 0, 1, 0, 0),
                (Link, 2, 2, 0, 0),
                (List, 0, 0, 0, 0),
                (Rename, 0, 0, 0, 1),
                (Lookup, 0, 2, 0, 0),
                (Attributes, 2, 0, 0, 0),
                (Attributes, 1, 0, 0, 0),
            ],
        ),
        seed(
            "an-acl-and-a-mode",
            LARGE,
            &[
                (Create, 0, 0, 0, 0),
                (Xattrs, 1, 0, 0, 0),
                (Setxattr, 1, 3, 0, 0),
                (Xattr, 1, 3, 0, 0),
                (Setattr, 1, 0, 1, 0o77),
                (Xattr, 1, 3, 0, 0),
                (Setxattr, 1, 0, 9, 1),
                (Write, 0, 9, 0, 7),
                (Removexattr, 1, 0, 0, 0),
                (Xattrs, 1, 0, 0, 0),
            ],
        ),
        seed(
            "links-and-fifos",
            SMALL,
            &[
                (Symlink, 0, 0, 1, 0),
                (Target, 1, 0, 0, 0),
                (Mkfifo, 0, 1, 0, 0),
                (List, 0, 0, 0, 0),
                (Unlink, 0, 0, 0, 0),
                (Mkdir, 0, 0, 0o55, 0),
                (List, 3, 0, 0, 0),
                (Rmdir, 0, 0, 0, 0),
                (Lookup, 0, 0, 0, 0),
            ],
        ),
        seed(
            "space",
            LARGE,
            &[
                (Create, 0, 0, 0, 0),
                (Create, 0, 1, 0, 0),
                (Write, 0, 200, 0, 7),
                (CopyRange, 1, 0, 100, 0),
                (Fallocate, 1, 0, 250, 0),
                (Read, 0, 0, 50, 0),
                (Open, 1, 0, 1, 0),
                (List, 0, 0, 0, 0),
            ],
        ),
    ]
}

/// Sequences for the names of nodes. Directories are numbered by themselves, the root is 0.
pub fn names() -> Vec<Seed> {
    use crate::fuzz::names::Step::{self, *};
    let seed = |name: &str, passes: u8, steps: &[(Step, u8, u8, u8, u8)]| {
        let bytes =
            steps.iter().flat_map(|(step, node, name, more, last)| [*step as u8, *node, *name, *more, *last]);
        Seed::new("names", name, [passes].into_iter().chain(bytes).collect())
    };
    let moved = [
        (Mkdir, 0, 0, 0, 0),
        (Mkdir, 1, 0, 0, 0),
        (Create, 2, 0, 0, 0),
        (Create, 2, 1, 0, 0),
        (Create, 0, 1, 0, 0),
        (Create, 0, 2, 0, 0),
        (Rename, 0, 0, 0, 3),
        (Rename, 1, 0, 0, 0),
        (Unlink, 2, 0, 0, 0),
        (List, 2, 0, 0, 0),
        (Forget, 3, 0, 0, 0),
        (Lookup, 2, 0, 0, 0),
    ];
    let replaced = [
        (Create, 0, 0, 0, 0),
        (Create, 0, 1, 0, 0),
        (Rename, 0, 0, 0, 1),
        (Create, 0, 0, 0, 0),
        (Rename, 0, 0, 0, 7),
        (Unlink, 0, 1, 0, 0),
        (Mkfifo, 0, 1, 0, 0),
        (Rmdir, 0, 1, 0, 0),
    ];
    let linked = [
        (Create, 0, 0, 0, 0),
        (Link, 0, 1, 1, 0),
        (Unlink, 0, 0, 0, 0),
        (Lookup, 0, 1, 0, 0),
        (Link, 0, 0, 1, 0),
        (Rename, 0, 0, 0, 1),
        (Unlink, 0, 1, 0, 0),
        (Unlink, 0, 0, 0, 0),
    ];
    vec![
        seed("directories-that-move", 0, &moved),
        seed("directories-that-move-where-numbers-pass", 1, &moved),
        seed("files-that-are-replaced", 0, &replaced),
        seed("files-that-are-replaced-where-numbers-pass", 1, &replaced),
        seed("several-names", 0, &linked),
    ]
}
