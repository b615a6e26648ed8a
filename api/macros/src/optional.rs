//! Writes the wire form of a struct with a procedure's optional arguments.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DataStruct, DeriveInput, Error, Field, Fields, Result, Type};

/// The protocol's mask has 64 bits, of which it uses 63.
const OPTIONAL_ARGUMENTS_MAX: usize = 63;

/// Writes `impl OptionalArguments`.
pub fn expand(item: &DeriveInput) -> Result<TokenStream> {
    let name = &item.ident;
    let fields = fields(item)?;
    let names = fields.iter().flat_map(|field| &field.ident).collect::<Vec<_>>();
    let texts = names.iter().map(|name| name.unraw().to_string());
    let bits = (0u32..).take(names.len()).collect::<Vec<_>>();
    let encoded = fields.iter().map(|Field { ident, ty, .. }| {
        // A type that has no place on the wire is reported where it stands.
        let span = Span::call_site().located_at(ty.span());
        quote_spanned!(span=> ::guestfs_api::encode_optional(&self.#ident, encoder);)
    });
    Ok(quote! {
        impl ::guestfs_api::OptionalArguments for #name {
            const NAMES: &'static [&'static str] = &[#(#texts),*];

            fn mask(&self) -> u64 {
                0 #(| (u64::from(self.#names.is_some()) << #bits))*
            }

            fn encode_all(&self, encoder: &mut ::guestfs_api::xdr::Encoder) {
                #(#encoded)*
            }

            fn decode_all(
                mask: u64, decoder: &mut ::guestfs_api::xdr::Decoder<'_>,
            ) -> Result<Self, ::guestfs_api::xdr::DecodeError> {
                Ok(#name { #(#names: ::guestfs_api::decode_optional(#bits, mask, decoder)?,)* })
            }
        }
    })
}

/// Checks that the struct has nothing but `Option` fields with names, and gives them.
fn fields(item: &DeriveInput) -> Result<Vec<&Field>> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "optional arguments have no generic parameters"));
    }
    let Data::Struct(DataStruct { fields: Fields::Named(fields), .. }) = &item.data else {
        return Err(Error::new(
            item.ident.span(),
            "optional arguments are a struct of `Option` fields with names",
        ));
    };
    if let Some(field) = fields.named.iter().find(|field| !is_option(&field.ty)) {
        return Err(Error::new_spanned(&field.ty, "an optional argument is an `Option`"));
    }
    if let Some(field) = fields.named.iter().nth(OPTIONAL_ARGUMENTS_MAX) {
        let text = format!("a procedure has at most {OPTIONAL_ARGUMENTS_MAX} optional arguments");
        return Err(Error::new_spanned(&field.ident, text));
    }
    Ok(fields.named.iter().collect())
}

fn is_option(written: &Type) -> bool {
    match written {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == "Option"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::marked::assert_refused;

    #[track_caller]
    fn refused(marked: &str, message: &str) {
        assert_refused(marked, message, |item| super::expand(&item));
    }

    #[test]
    fn optional_arguments_are_a_struct_with_named_fields() {
        let message = "optional arguments are a struct of `Option` fields with names";
        refused("struct «Options»(Option<i32>);", message);
        refused("struct «Options»;", message);
        refused("enum «Options» { Rw(Option<bool>) }", message);
        refused("union «Options» { rw: Option<bool> }", message);
    }

    #[test]
    fn optional_arguments_have_no_generic_parameters() {
        let message = "optional arguments have no generic parameters";
        refused("struct Options«<T>» { rw: Option<T> }", message);
        refused("struct Options«<'a>» { label: Option<&'a str> }", message);
    }

    #[test]
    fn each_field_is_an_option() {
        let message = "an optional argument is an `Option`";
        refused("struct Options { rw: Option<bool>, label: «String» }", message);
        refused("struct Options { labels: «Vec<Option<String>>», rw: bool }", message);
        refused("struct Options { labels: «&'static str» }", message);
    }

    #[test]
    fn there_are_at_most_63() {
        let fields =
            |count: usize| (0..count).map(|bit| format!("a{bit}: Option<bool>, ")).collect::<String>();
        let most = syn::parse_str(&format!("struct Options {{ {} }}", fields(63))).unwrap();
        assert!(super::expand(&most).is_ok());
        refused(
            &format!("struct Options {{ {} «one_too_many»: Option<bool> }}", fields(63)),
            "a procedure has at most 63 optional arguments",
        );
    }
}
