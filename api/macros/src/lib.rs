//! Derives what client and daemon share from the API's topic traits.
//!
//! [`macro@procedures`] goes on a topic trait, [`macro@OptionalArguments`] on the struct with a procedure's optional
//! arguments. Both only name items of `guestfs_api`; the rules of the wire live there.

mod expand;
mod layer;
#[cfg(test)]
mod marked;
mod optional;
mod topic;

use proc_macro::TokenStream;

/// Turns a topic trait into the trait itself, its client, its dispatch and its metadata.
///
/// Each method is a procedure: `#[procedure(NUMBER)]` or `#[procedure(NUMBER, group = "NAME")]`, `&self`, arguments,
/// `-> Result<VALUE, Self::Error>`. An argument typed `FileIn<'_>` or `FileOut<'_>` is a file transfer, at most one a
/// procedure; one marked `#[optional]` is a struct that derives `OptionalArguments`, and comes last but for the file.
///
/// Beside the trait it makes, in the same module: `impl Trait for Remote<C>`, `fn dispatch` and `const PROCEDURES`.
/// With `#[procedures(layer = NAME)]` also the trait `NAME`, for what stands on another implementation of the topic and
/// changes some of its procedures.
#[proc_macro_attribute]
pub fn procedures(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let layer = syn::parse_macro_input!(arguments as layer::LayerName);
    let item = syn::parse_macro_input!(item as syn::ItemTrait);
    topic::Topic::parse(item)
        .map_or_else(|error| error.to_compile_error(), |topic| expand::expand(&topic, &layer))
        .into()
}

/// Gives a struct of `Option` fields its form on the wire; the fields' order is the order of their bits.
#[proc_macro_derive(OptionalArguments)]
pub fn optional_arguments(item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    optional::expand(&item).unwrap_or_else(|error| error.to_compile_error()).into()
}
