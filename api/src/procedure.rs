//! What the topic traits say about each procedure, as data: for dispatch checks, traces and documentation.

/// One procedure of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct Procedure {
    /// The number on the wire.
    pub number: u32,
    /// The name, as in the trait.
    pub name: &'static str,
    /// The optional group it belongs to, for appliances that lack what the group needs.
    pub group: Option<&'static str>,
    /// The arguments in their order on the wire.
    pub arguments: &'static [Argument],
    /// The names of the optional arguments; the index is the bit in the header's mask.
    pub optional_arguments: &'static [&'static str],
    /// The Rust type of the result, as in the trait.
    pub result: &'static str,
}

/// One argument of a procedure.
#[derive(Debug, PartialEq, Eq)]
pub struct Argument {
    /// The name, as in the trait.
    pub name: &'static str,
    /// The Rust type, as in the trait without `&`.
    pub kind: &'static str,
}

impl Procedure {
    /// Says whether the content of a file follows the call.
    pub fn takes_file(&self) -> bool {
        self.has_argument_of_kind("FileIn")
    }

    /// Says whether the content of a file follows the reply.
    pub fn gives_file(&self) -> bool {
        self.has_argument_of_kind("FileOut")
    }

    /// Says whether a call holds bytes that are to be wiped from memory after it.
    pub fn takes_secret(&self) -> bool {
        self.has_argument_of_kind("Secret") || self.has_argument_of_kind("Key")
    }

    fn has_argument_of_kind(&self, kind: &str) -> bool {
        self.arguments.iter().any(|argument| argument.kind == kind)
    }

    /// Gives the mask with a bit for each optional argument there is.
    pub fn optional_mask(&self) -> u64 {
        // The protocol has at most 63 optional arguments; the macro checks it.
        (1 << self.optional_arguments.len()) - 1
    }
}

/// The first number of the procedures that are this project's own, far above the protocol's (522 in 2026).
pub const OWN_PROCEDURES_FIRST: u32 = 100_000;
